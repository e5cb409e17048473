"""Measure how a job's peak memory depends on the number of images: the same job on few and on many, in separate processes.

    python benchmarks/memory.py [--images 200 2000] [--jobs masking ranking rerun] [--side 64]

The images are synthetic. 8 methods have maps of the images' size, the first one with five shuffled copies. The network is
timm's `test_resnet`; for masking and ranking, whose time is mostly forwards, it is a linear one. Peak memory is the system's
value for the complete process, including imports; "imports" is its value before the job begins. The goal applies to the
ratio of the peaks with most and fewest images.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gradfaith.attribution import cell as cell_attribution
from gradfaith.attribution import rerun
from gradfaith.attribution.bound_method import bind_methods
from gradfaith.config.job_settings import MethodSettings, RandomiseSettings, RerunSettings
from gradfaith.config.sections import Passes
from gradfaith.config.study import PluginUse
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.predict import prediction_table
from gradfaith.runtime.device import choose_device
from gradfaith.scoring import agreement, faithfulness, localization, randomisation, score_rows
from gradfaith.scoring.across_architectures import score_across_architectures
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import ImageStore, ImageWriter, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

GOAL, METHODS, COPIES, CLASSES = 1.1, 8, 5, ("a", "b")
HOW = {"group": "methods", "use": "saliency", "layer": "auto", "options": {}, "score": "logit", "reading": "positive"}
USES = {f"method-{number}": MethodSettings(**HOW, shuffled=number == 0) for number in range(METHODS)}
RERUN = RerunSettings(passes=Passes(), organ="", methods=USES)
RANDOMISE = RandomiseSettings(seed=0, passes=Passes(), methods=USES, max_images=None, orders=["top_down"], steps=1)
BATTERIES: dict[str, dict[str, dict[str, Any]]] = {
    "masking": {name: {} for name in ("faith", "faith_logit", "average_drop", "increase_in_confidence", "complexity")},
    "ranking": {"deletion": {"steps": 4}, "road": {}, "region_correctness": {"decoys": 5}, "faithfulness_correlation": {"subsets": 4}},
    "rerun": {"coherency": {}, "max_sensitivity": {"draws": 1}},
}  # fmt: skip


def plugins(group: str, options: dict[str, dict[str, Any]]) -> Any:
    return score_rows.load_plugins(group, {name: PluginUse(use=name, options=own) for name, own in options.items()})


def write_images(path: Path, ids: list[str], side: int) -> None:
    draw, down = np.random.default_rng(0), np.arange(side)[:, None]
    with ImageWriter(path, ids, ("evidence",), (1, side, side), {}) as writer:
        for row in range(len(ids)):
            y, x = draw.uniform(side / 4, 3 * side / 4, 2)
            evidence = (down - y) ** 2 + (down.T - x) ** 2 < (side / 8) ** 2
            writer.put(row, draw.integers(0, 255, (1, side, side)).astype(np.uint8), {"evidence": evidence})
        writer.describe(mean=0.4, std=0.2, digest="benchmark")


def write_maps(path: Path, ids: list[str], side: int, seed: int) -> None:
    draw, batch = np.random.default_rng(seed), 50
    with MapWriter(path, pd.DataFrame({"image_id": ids, "target": 0, "role": "both"}), {}) as writer:
        for label, copies in [("shuffled-method-0", COPIES), *((label, 1) for label in USES)]:
            for start in range(0, len(ids), batch):
                maps = draw.random((min(batch, len(ids) - start), copies, side, side)).astype(np.float32)
                writer.put(label, MapInfo("saliency", "", "input", False, copies), start, maps, 1.0)


@dataclass(frozen=True)
class Inputs:
    """The inputs and outputs of a job."""

    folder: Path
    images: ImageStore
    maps: list[MapStore]  # of two models
    predictions: pd.DataFrame
    model: Classifier

    def write(self, tables: Iterator[pd.DataFrame]) -> None:
        with parquet.writing(self.folder / "scores.parquet", parquet.SCORES) as add:
            for table in tables:
                add(table)


def faithful(battery: str) -> Callable[[Inputs], None]:
    def job(given: Inputs) -> None:
        metrics, imputers, explain = (
            plugins("faithfulness", BATTERIES[battery]),
            plugins("imputers", {"black": {}}),
            None,
        )
        about = {"arch": "net", "seed": 1}
        if battery == "rerun":
            settings = (metrics, RERUN, (0, *about.values()))
            explain = rerun.build_reexplainer(given.model, given.images, given.maps[0], *settings, batch_limit="auto")
        side = given.images.size[0]
        small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(side * side, len(CLASSES)))
        inputs = (
            given.model if explain else small,
            given.images,
            given.maps[0],
            given.predictions,
            metrics,
            imputers,
            about,
            0,
        )
        with parquet.writing(given.folder / "curves.parquet", parquet.CURVES) as add_curves:

            def scores() -> Iterator[pd.DataFrame]:
                for tables in faithfulness.score_faithfulness(*inputs, chunk="auto", explain=explain):
                    add_curves(tables.curves)
                    yield tables.scores

            given.write(scores())

    return job


def located(given: Inputs) -> None:
    metrics = plugins("localization", {"locacc": {}, "iou": {}, "pointing_game": {}, "roc_auc": {}})
    given.write(
        localization.score_localization(
            given.images, given.maps[:1], given.predictions, metrics, {"arch": "net", "seed": 1}
        )
    )


def agreed(given: Inputs) -> None:
    stores = {("net", seed): {"cams": maps} for seed, maps in enumerate(given.maps)}
    metrics = plugins("agreement", {"consist": {}, "spearman": {}})
    given.write(agreement.score_agreement(given.images, stores, given.predictions, metrics, 0))


def across(given: Inputs) -> None:
    stores = {(arch, seed): {"cams": given.maps[seed]} for arch in ("net", "other") for seed in range(2)}
    metrics, kinds = plugins("agreement", {"consist": {}, "spearman": {}}), ["architectures", "ensemble"]
    given.write(score_across_architectures(given.images, stores, given.predictions, metrics, kinds, 0))


def randomised(given: Inputs) -> None:
    inputs = (given.model, given.images, given.maps[0], given.predictions, RANDOMISE, {"arch": "net", "seed": 1})
    given.write(randomisation.score_randomisation(*inputs, batch_limit="auto"))


def explained(given: Inputs) -> None:
    rows, asked = given.maps[0].rows, bind_methods(given.model, USES)
    cell = cell_attribution.MapCell(given.model, given.images.pixels, rows, asked, (0, "net", 1), COPIES, "auto")
    with MapWriter(given.folder / "new.h5", rows, {}) as writer:
        for chunk in cell.map_chunks():
            writer.put(chunk.label, chunk.info, chunk.start, chunk.maps, chunk.seconds, chunk.diagnostics)


def predicted(given: Inputs) -> None:
    parquet.write(
        given.folder / "predictions.parquet",
        prediction_table(given.model, given.images, given.predictions, CLASSES, chunk="auto"),
        parquet.PREDICTIONS,
    )


JOBS: dict[str, Callable[[Inputs], None]] = {
    **{battery: faithful(battery) for battery in BATTERIES},
    "localization": located, "agreement": agreed, "across": across,
    "randomise": randomised, "explain": explained, "predict": predicted,
}  # fmt: skip


def peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(job: str, folder: Path, threads: int) -> None:
    device = choose_device("cpu", threads)
    predictions = parquet.read(folder / "asked.parquet", parquet.PREDICTIONS)
    with ExitStack() as stack:
        images = stack.enter_context(ImageStore(folder / "images.h5"))
        maps = [stack.enter_context(MapStore(folder / f"maps-{seed}.h5")) for seed in range(2)]
        spec = ClassifierSpec("test_resnet", len(CLASSES), 1, 3, images.size[0], images.mean, images.std)
        model = build_classifier(spec).eval().to(device)
        before, started = peak(), time.perf_counter()
        JOBS[job](Inputs(folder, images, maps, predictions, model))
    print(before, peak(), time.perf_counter() - started)


def measure(job: str, folder: Path, threads: int) -> tuple[float, float, float]:
    """Return MB before the job, MB at its peak, and seconds."""
    command = [sys.executable, __file__, "--child", job, "--folder", str(folder), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    before, most, seconds = map(float, done.stdout.splitlines()[-1].split())
    return before, most, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", choices=list(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.manual_seed(0)
    if asked.child:
        return child(asked.child, asked.folder, asked.threads)
    with tempfile.TemporaryDirectory() as place:
        folders = {count: Path(place) / str(count) for count in asked.images}
        for count, folder in folders.items():
            ids = [f"image-{number:05d}" for number in range(count)]
            folder.mkdir()
            write_images(folder / "images.h5", ids, asked.side)
            for seed in range(2):
                write_maps(folder / f"maps-{seed}.h5", ids, asked.side, seed)
            about = {"group": ids, "part": "test", "label": "a", "predicted": "a", "correct": True, "seconds": 0.0}
            parquet.write(folder / "asked.parquet", pd.DataFrame({"image_id": ids, **about}), parquet.PREDICTIONS)
        for job in asked.jobs:
            found = {count: measure(job, folder, asked.threads) for count, folder in folders.items()}
            text = ", ".join(
                f"{count} images {most:.0f} MB in {seconds:.0f} s" for count, (_, most, seconds) in found.items()
            )
            ratio = found[max(found)][1] / found[min(found)][1]
            met = "met" if ratio <= GOAL else "missed"
            print(
                f"{job:13} imports {found[max(found)][0]:.0f} MB; {text}; ratio {ratio:.2f} <= {GOAL} {met}", flush=True
            )
    return None


if __name__ == "__main__":
    main()
