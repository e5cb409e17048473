"""Measure the faithfulness batteries relative to the passes they need: resnet18, eight images at 224 px, in turns.

    python benchmarks/batteries.py [--rounds 7] [--threads 1] [--methods 1] [--imputer black]

masking    faith, faith_logit, average_drop, increase_in_confidence and complexity, over the same number of bare forwards
ranking    deletion and insertion in 20 steps, and ROAD, over the same number of bare forwards
rerun      coherency of Grad-CAM, over the same number of bare forwards, each with the backward to the last stage
all        the three together over all of these passes; the goal applies to this line

Bare passes run on ready images in batches of eight, without taps, maps, masks or scores. The output also has the number of
images that the network processed, and the number without sharing between metrics. The first ratio is wall time, the second
computing time. `shares.py` shows where the time goes.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from plain import plain_methods
from torch import Tensor
from torch.nn.functional import interpolate
from turns import line, take

from gradfaith.attribution import bound_method
from gradfaith.attribution import cell as cell_attribution
from gradfaith.attribution import rerun as rerun_attribution
from gradfaith.config.study import PluginUse
from gradfaith.metrics.contract import MethodMaps, RerunBatch
from gradfaith.metrics.runners import masking, rerun
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch
from gradfaith.scoring.score_rows import load_plugins

BATCH, SIZE, GOAL = 8, 224, 1.25
BATTERIES = {
    "masking": ("faith", "faith_logit", "average_drop", "increase_in_confidence", "complexity"),
    "ranking": ("deletion", "insertion", "road"),
    "rerun": ("coherency",),
}
CAMS = ("gradcam", "gradcam_pp", "layercam", "hirescam")
Work = Callable[[], masking.BatteryResults]


def scans() -> Tensor:
    """Return images with large structures and grain."""
    draw = torch.Generator().manual_seed(1)
    large, grain = torch.rand(BATCH, 1, 9, 9, generator=draw), torch.rand(BATCH, 1, SIZE, SIZE, generator=draw)
    return 0.8 * interpolate(large, size=(SIZE, SIZE), mode="bilinear") + 0.2 * grain


def explainer(classifier: Classifier, names: Sequence[str]) -> rerun_attribution.Reexplainer:
    uses = plain_methods(names)
    asked = bound_method.bind_methods(classifier, uses)
    cell = cell_attribution.MapCell(
        classifier, lambda _ids: np.zeros(0, np.uint8), pd.DataFrame(), asked, (0,), 1, BATCH, probe_layers=False
    )
    return rerun_attribution.Reexplainer({"trained": cell}, AdaptiveBatch(BATCH, torch.device("cpu")))


def stored(ask: rerun_attribution.Reexplainer, images: Tensor, target: Tensor) -> dict[Any, MethodMaps]:
    """Return the maps of every method, as a store would."""
    rows, ids = torch.arange(len(images)), [str(row) for row in range(len(images))]
    wanted = {(use.label, 0): rows for use in ask.cells["trained"].methods}
    maps = ask(RerunBatch(images, target, ids, ["none"] * len(images), wanted, "trained"))
    size = images.shape[-2:]
    return {
        whose: MethodMaps(raw, "input" if raw.shape[-2:] == size else "native", False, rows, target)
        for whose, raw in maps.items()
    }


def maps_of(classifier: Classifier, names: Sequence[str], images: Tensor, target: Tensor) -> dict[Any, MethodMaps]:
    """Return the maps of some methods at their default layer."""
    return stored(explainer(classifier, names), images, target)


def forwards(classifier: Classifier, images: Tensor, count: int) -> None:
    with torch.no_grad():
        for start in range(0, count, BATCH):
            classifier(images[: min(BATCH, count - start)])


def explained(classifier: Classifier, images: Tensor, target: Tensor, count: int) -> None:
    """Run a forward to the last stage, and from there the output and its gradient."""
    for _ in range(0, count, BATCH):
        with torch.no_grad():
            kept = classifier.net.forward_features((images - classifier.mean).div(classifier.std).expand(-1, 3, -1, -1))
        kept.requires_grad_()
        logits = classifier.net.forward_head(kept)
        torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept)


def works(
    classifier: Classifier, images: Tensor, methods: int, imputer: str
) -> dict[str, Callable[..., masking.BatteryResults]]:
    """Return a function per battery that runs all of its metrics, or the given ones."""
    target = torch.zeros(BATCH, dtype=torch.long)
    ask = explainer(classifier, CAMS[:methods])
    maps, fills = stored(ask, images, target), load_plugins("imputers", {imputer: PluginUse(use=imputer)})

    def work(battery: str) -> Callable[..., masking.BatteryResults]:
        def once(*names: str) -> masking.BatteryResults:
            metrics = load_plugins("faithfulness", {n: PluginUse(use=n) for n in names or BATTERIES[battery]})
            run, asked = (rerun.run_battery, ask) if battery == "rerun" else (masking.run_battery, classifier)
            mean = torch.full((1,), 0.4)
            return run(asked, images, maps, metrics, fills, mean=mean, chunk=BATCH)  # type: ignore[operator]

        return once

    return {battery: work(battery) for battery in BATTERIES}


def counted(batteries: Mapping[str, Callable[..., masking.BatteryResults]]) -> dict[str, int]:
    """Return the number of images per battery; print it beside the number without sharing."""
    done = {name: run().passes_run for name, run in batteries.items()}
    single = {name: sum(batteries[name](metric).passes_run for metric in BATTERIES[name]) for name in batteries}
    for name, count in [*done.items(), ("all", sum(done.values()))]:
        alone = single.get(name, sum(single.values()))
        print(f"{name:10} {count:6d} images through the network, {alone} if each metric ran by itself")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", type=int, default=1, choices=range(1, len(CAMS) + 1))
    parser.add_argument("--imputer", default="black")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    classifier, images = build_classifier(ClassifierSpec("resnet18", 3, 1, 3, SIZE, 0.5, 0.25)).eval(), scans()
    for parameter in classifier.parameters():
        parameter.requires_grad_(False)
    batteries = works(classifier, images, asked.methods, asked.imputer)
    done, target = counted(batteries), torch.zeros(BATCH, dtype=torch.long)
    turns: dict[str, Callable[[], object]] = {}
    for name, run in batteries.items():
        turns[name] = run
        turns[f"bare {name}"] = (
            (lambda: explained(classifier, images, target, done["rerun"]))
            if name == "rerun"
            else (lambda name=name: forwards(classifier, images, done[name]))
        )
    took = take(turns, asked.rounds)
    for name in batteries:
        line(f"{name} / its passes", took.ratio(name, f"bare {name}"), GOAL)
    whole = {kind: [sum(round_) for round_ in zip(*(times[n] for n in BATTERIES), strict=True)] for kind, times in
        (("clock", took.clock), ("computing", took.computing))}  # fmt: skip
    took.clock["all"], took.computing["all"] = whole["clock"], whole["computing"]  # type: ignore[index]
    line("all / their passes", took.ratio("all", *(f"bare {name}" for name in BATTERIES)), GOAL)


if __name__ == "__main__":
    main()
