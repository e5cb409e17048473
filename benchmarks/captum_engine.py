"""Compare the methods that captum computes with the same methods of another checkout: time in pairs, and maps.

    git worktree add ../before COMMIT
    python benchmarks/captum_engine.py --before ../before [--rounds 5] [--threads 1] [--batch 1] [--only lime ...]

Each checkout runs in its own process, and both take turns, in rotating order. Methods run as in a job, on a ResNet-18 with
random weights at 224 px, with the same images, seeds and options. The first ratio is wall time, the second computing time, to
which the goal applies. The last figure is the largest difference of a map's values, as a share of its largest value.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

GOAL = 1.5
OPTIONS: dict[str, dict[str, object]] = {
    "saliency": {},
    "input_x_gradient": {},
    "integrated_gradients": {"steps": 16},
    "smoothgrad": {"samples": 16},
    "guided_backprop": {},
    "guided_gradcam": {},
    "occlusion": {"window": 64, "stride": 32},
    "lime": {"segments": 20, "samples": 64},
    "kernel_shap": {"segments": 20, "samples": 64},
}


def work(threads: int, batch: int) -> None:
    """Run one method per line of standard input: its name and a file for its maps; answer with its seconds."""
    import torch
    from cams import CPU, network, scans, used

    from gradfaith.attribution import shared_passes
    from gradfaith.attribution.bound_method import MethodCall
    from gradfaith.attribution.contract import MapsWithDiagnostics
    from gradfaith.runtime.device import AdaptiveBatch

    torch.set_num_threads(threads)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier, images = network("resnet18"), scans(batch)
    torch.nn.init.normal_(
        classifier.net.fc.weight, generator=torch.Generator().manual_seed(0)
    )  # timm starts it near zero
    for request in sys.stdin:
        name, file = request.split()
        (use,) = used(classifier, name, **OPTIONS[name])
        streams = [torch.Generator().manual_seed(row) for row in range(batch)]
        started, computed = time.perf_counter(), time.process_time()
        with shared_passes.open_shared_passes(classifier, images, use.layers, chunk=AdaptiveBatch(32, CPU)) as shared:
            inputs = shared.for_target(torch.zeros(batch, dtype=torch.long), torch.arange(batch), "logit")
            found = use.attribute(MethodCall(inputs, streams, (1, 1), None))
        seconds = time.perf_counter() - started, time.process_time() - computed
        np.save(file, (found.maps if isinstance(found, MapsWithDiagnostics) else found).float().numpy())
        print(json.dumps(seconds), flush=True)


def start(checkout: Path, threads: int, batch: int) -> subprocess.Popen[str]:
    """Start a worker that imports the package of a checkout, and this file's benchmarks."""
    command = [sys.executable, __file__, "--worker", "--threads", str(threads), "--batch", str(batch)]
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve() / "workflow"), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(worker: subprocess.Popen[str], name: str, file: Path) -> tuple[float, float]:
    """Return wall and computing time of one run."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(name, file, file=worker.stdin, flush=True)
    wall, computing = json.loads(worker.stdout.readline())
    return wall, computing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=OPTIONS, default=list(OPTIONS))
    asked = parser.parse_args()
    if asked.worker:
        work(asked.threads, asked.batch)
        return
    if asked.before is None:
        parser.error("--before is needed")
    checkouts = {"after": Path(__file__).parents[1], "before": asked.before}
    workers = {name: start(path, asked.threads, asked.batch) for name, path in checkouts.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = {side: Path(folder, f"{side}.npy") for side in workers}
        for name in asked.only:
            ratios = list[tuple[float, float]]()
            for number in range(asked.rounds + 1):  # the first is the warm-up
                order = list(workers)[:: -1 if number % 2 else 1]
                took = {side: ask(workers[side], name, files[side]) for side in order}
                ratios.append((took["after"][0] / took["before"][0], took["after"][1] / took["before"][1]))
            after, before = (np.load(files[side]) for side in ("after", "before"))
            wall, computing = (median(pair[kind] for pair in ratios[1:]) for kind in (0, 1))
            change = np.abs(after - before).max() / np.abs(before).max()
            verdict = "met" if computing <= GOAL else "missed"
            print(f"{name:24} {wall:8.3f} {computing:8.3f}   <= {GOAL:g} {verdict:8} {change:.1e}", flush=True)
    for worker in workers.values():
        worker.communicate()


if __name__ == "__main__":
    main()
