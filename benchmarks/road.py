"""Measure ROAD relative to grad-cam's, which fills one image at a time with scipy's sparse solver: paired rounds, in turns.

    python benchmarks/road.py [--rounds 5] [--threads 1] [--only filling road]

filling    one image at 224 px with 20, 40, 60 and 80 % of its pixels removed, most and least relevant first: ours
           (`noisy_linear`, noise included) over a resnet18 forward of that image, and grad-cam's NoisyLinearImputer over ours
road       complete ROAD for resnet18 and eight images: eight modified images each, and the forwards; grad-cam's ROADCombined
           over ours, and ours over its nine forwards

Both sides have the same images: with one channel; with three equal channels, as users of grad-cam give a grey image to a
three-channel network, which we solve once; with three different channels. The output contains the goals. The first ratio is
wall time, the second computing time.
"""

import argparse
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from turns import line, take

from gradfaith.metrics.contract import Context, RankedRemoval
from gradfaith.metrics.imputers import noisy_linear
from gradfaith.metrics.maps.removals import rank_pixels
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier

# Only now: beside a CPU-only torch, torchvision needs the import of gradfaith first.
peer = import_module("pytorch_grad_cam.metrics.road")
SoftmaxTarget = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputSoftmaxTarget
SHARES = (20, 40, 60, 80)
ORDERS: tuple[Literal["most", "least"], ...] = ("most", "least")
BATCH, SIZE = 8, 224
TIES = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
KINDS = {"grey": 1, "grey in three channels": 3, "colour": 3}
GOALS = {"grey": 8, "grey in three channels": 8, "colour": 5}  # required speed-up of complete ROAD


def network(kind: str) -> Classifier:
    return build_classifier(ClassifierSpec("resnet18", 3, KINDS[kind], 3, SIZE, 0.5, 0.25)).eval()


def scans(kind: str) -> Tensor:
    """Return images with large structures and grain."""
    draw, different = torch.Generator().manual_seed(1), 3 if kind == "colour" else 1
    large = torch.rand(BATCH, different, 9, 9, generator=draw).expand(-1, KINDS[kind], -1, -1)
    grain = torch.rand(BATCH, different, SIZE, SIZE, generator=draw)
    return (0.8 * interpolate(large, size=(SIZE, SIZE), mode="bilinear") + 0.2 * grain).clamp(0, 1)


def maps() -> Tensor:  # (n, h, w) in [0, 1]
    """Return maps as smooth as a class activation map."""
    cells = torch.rand(BATCH, 1, 7, 7, generator=torch.Generator().manual_seed(7))
    return interpolate(cells, size=(SIZE, SIZE), mode="bilinear")[:, 0]


def keeps(unit: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the eight masks of every map, with exact pixel counts."""
    order = rank_pixels(unit, TIES.expand(len(unit), -1, -1))
    for end, share in product(ORDERS, SHARES):
        removal = RankedRemoval(end, share / 100)
        yield removal.name, order.keep_mask(removal)


def changed(images: Tensor, unit: Tensor) -> Iterator[Tensor]:
    names = [f"image {number}" for number in range(len(images))]
    for change, keep in keeps(unit):
        fill = noisy_linear.fill(images, Context(keep, None, names, ("benchmark",), change))
        yield torch.lerp(fill, images, keep.unsqueeze(1))


def filling(kind: str, rounds: int) -> None:
    classifier, image, unit = network(kind), scans(kind)[:1], maps()[:1]
    masks, imputer = [keep[0] for _, keep in keeps(unit)], peer.NoisyLinearImputer()
    turns: dict[str, Callable[[], object]] = {
        "forwards": lambda: [classifier(image) for _ in masks],
        "ours": lambda: list(changed(image, unit)),
        "grad-cam": lambda: [imputer(image[0], mask) for mask in masks],
    }
    took = take(turns, rounds)
    line(f"filling / forward, resnet18, {kind}", took.ratio("ours", "forwards"), 1)
    line(f"grad-cam's filling / ours, {kind}", took.ratio("grad-cam", "ours"), 10, at_least=True)


def road(kind: str, rounds: int) -> None:
    classifier, images, unit = network(kind), scans(kind), maps()
    theirs, targets = peer.ROADCombined(percentiles=list(SHARES)), [SoftmaxTarget(0)] * BATCH

    def ours() -> Tensor:
        classifier(images)  # the unchanged images, which the engine runs too
        scores = torch.stack([classifier(some).softmax(dim=1)[:, 0] for some in changed(images, unit)])
        most, least = scores.view(2, len(SHARES), BATCH).mean(dim=1)
        return least - most

    turns: dict[str, Callable[[], object]] = {
        "forwards": lambda: [classifier(images) for _ in range(9)],
        "ours": ours,
        "grad-cam": lambda: theirs(images, unit.numpy(), targets, classifier),
    }
    took, what = take(turns, rounds), f"resnet18 x {BATCH}, {kind}"
    line(f"ROAD / its forwards, {what}", took.ratio("ours", "forwards"), 1.6)
    line(f"grad-cam's ROADCombined / ours, {what}", took.ratio("grad-cam", "ours"), GOALS[kind], at_least=True)
    gap = ours() - 2 * torch.from_numpy(theirs(images, unit.numpy(), targets, classifier))
    print(f"{'':4}largest difference of the two scores: {float(gap.abs().max()):.1e} (random weights)")


@torch.no_grad()
def main() -> None:
    parts = {"filling": filling, "road": road}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for part in asked.only:
        for kind in KINDS:
            parts[part](kind, asked.rounds)


if __name__ == "__main__":
    main()
