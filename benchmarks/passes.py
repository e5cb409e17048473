"""Measure which timm modules are faster in channels_last memory or with folded batch norms: the table in models/speed.py.

    python benchmarks/passes.py [resnet vit ...] [--training] [--rounds 7] [--threads 1] [--batch 8] [--device cpu]

One network of every timm module (those of docs/layers.py) has random weights, at its original size but at most 256 pixels.
Four ways take turns: plain, channels_last, folded, both. A row has the time of each over the plain one (medians of the
rounds; computing time on a CPU, wall time elsewhere) and the largest change of a logit, as a share of the largest logit. The
fastest way is chosen if it takes at most 0.92 of the plain time and changes logits by less than 1e-5; the chosen names are
printed at the end. If no norm could be folded, the ways with folding are left out. With `--training`, a forward and a
backward in training mode are measured instead, plain and in channels_last memory, and no logit is compared.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import layers as networks  # docs/layers.py: an example of every module

from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.speed import LARGEST_LOGIT_CHANGE, change_layout
from gradfaith.models.timm_import import timm
from gradfaith.runtime.device import keep_freed_memory, synchronise

WAYS = {"channels_last": (True, False), "folded": (False, True), "both": (True, True)}
LARGEST_RATIO, LARGEST_SIZE = 0.92, 256


def example(module: str, device: torch.device) -> Classifier:
    """Return the network of a module at its original size, or at its smallest size if that is too large."""
    given = networks.EXAMPLES[module]
    size = timm.get_pretrained_cfg(given.timm).input_size[-1]
    if size > LARGEST_SIZE:
        return networks.build_example(module).to(device)
    return (
        build_classifier(ClassifierSpec(given.timm, 3, 1, 3, size, 0.5, 0.25, dict(given.options)), seed=1)
        .eval()
        .to(device)
    )


def batch_norms(classifier: Classifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())


def seconds(classifier: Classifier, images: Tensor) -> float:
    """Time a forward; in training mode also the backward."""
    clock = time.process_time if images.device.type == "cpu" else time.perf_counter
    started = clock()
    with torch.set_grad_enabled(classifier.training):
        logits = classifier(images)
        if classifier.training:
            logits.sum().backward()
    synchronise(images.device)
    return clock() - started


def measure(
    module: str, batch: int, rounds: int, device: torch.device, training: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the time of every way over the plain one, and its change of a logit."""
    plain = example(module, device)
    ways = {"plain": plain}
    for name, (channels_last, fold) in WAYS.items():
        if training and fold:
            continue
        changed = change_layout(copy.deepcopy(plain), channels_last=channels_last, fold_batch_norm=fold)
        if not fold or batch_norms(changed) < batch_norms(plain):
            ways[name] = changed
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(batch, plain.spec.channels, plain.spec.size, plain.spec.size, generator=draw).to(device)
    with torch.no_grad():
        logits = {name: way(images) for name, way in ways.items()}
    largest = logits["plain"].abs().amax()
    names = list(ways)
    changes = {name: float((logits[name] - logits["plain"]).abs().amax() / largest) for name in names[1:]}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way.train(training)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            took[name].append(seconds(ways[name], images))
    ratios = {
        name: statistics.median(a / b for a, b in zip(took[name], took["plain"], strict=True)) for name in names[1:]
    }
    return ratios, changes


def choose(ratios: Mapping[str, float], changes: Mapping[str, float]) -> str:
    allowed = {
        name: ratio for name, ratio in ratios.items() if ratio <= LARGEST_RATIO and changes[name] < LARGEST_LOGIT_CHANGE
    }
    return min(allowed, key=allowed.__getitem__, default="plain")


def chosen_ways(modules: Sequence[str], *how: Any) -> Iterator[tuple[str, str]]:
    for module in modules:
        try:
            ratios, changes = measure(module, *how)
        except Exception as error:  # a network that does not run here stays plain
            print(f"{module:24} not measured: {type(error).__name__}: {str(error).splitlines()[0][:90]}", flush=True)
            continue
        way = choose(ratios, changes)
        text = "  ".join(f"{name} {ratios[name]:.2f} ({changes[name]:.0e})" for name in ratios)
        print(f"{module:24} {text}  -> {way}", flush=True)
        yield module, way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=list(networks.EXAMPLES))
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    keep_freed_memory()
    how = (asked.batch, asked.rounds, torch.device(asked.device), asked.training)
    ways = dict(chosen_ways(asked.modules or list(networks.EXAMPLES), *how))
    for name, wanted in (("channels_last", {"channels_last", "both"}), ("folded batch norms", {"folded", "both"})):
        print(f"{name}: {' '.join(sorted(module for module, way in ways.items() if way in wanted))}")


if __name__ == "__main__":
    main()
