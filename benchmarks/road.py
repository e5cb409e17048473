"""What ROAD costs beside grad-cam's, which fills one image at a time with scipy's sparse solver: paired rounds, taking turns.

    python benchmarks/road.py [--rounds 5] [--threads 1] [--only filling road]

filling    one image at 224 px with 20, 40, 60 and 80 % of its pixels taken, the most and the least relevant first: ours
           (`noisy_linear`, noise included) over a resnet18 forward of that image, and grad-cam's NoisyLinearImputer over ours
road       the whole of it for resnet18 and eight images: eight changed images each, and the forwards; grad-cam's ROADCombined
           over ours, and ours over its nine forwards

Both get the same images, of one channel and of three; both solve for all channels at once. Goals stand in the output. The first
ratio is by the clock, the second of computing time.
"""

import argparse
from collections.abc import Callable, Iterator
from importlib import import_module

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from turns import line, take

from gradfaith.imputers import noisy_linear
from gradfaith.metrics.contract import Context
from gradfaith.models.build import Classifier, Spec, build

peer = import_module(
    "pytorch_grad_cam.metrics.road"
)  # only now: beside a CPU torch, torchvision needs gradfaith's help
SoftmaxTarget = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputSoftmaxTarget
SHARES = (20, 40, 60, 80)
BATCH, SIZE = 8, 224
GOALS = {1: 8, 3: 5}  # channels: how many times faster the whole of ROAD must be


def network(channels: int) -> Classifier:
    return build(Spec("resnet18", 3, channels, 3, SIZE, 0.5, 0.25)).eval()


def scans(channels: int) -> Tensor:
    """Large structure and grain."""
    draw = torch.Generator().manual_seed(channels)
    large = torch.rand(BATCH, channels, 9, 9, generator=draw)
    grain = torch.rand(BATCH, channels, SIZE, SIZE, generator=draw)
    return (0.8 * interpolate(large, size=(SIZE, SIZE), mode="bilinear") + 0.2 * grain).clamp(0, 1)


def maps() -> Tensor:  # (n, h, w) in [0, 1]
    """As smooth as a class activation map."""
    cells = torch.rand(BATCH, 1, 7, 7, generator=torch.Generator().manual_seed(7))
    return interpolate(cells, size=(SIZE, SIZE), mode="bilinear")[:, 0]


def keeps(unit: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The eight masks of every map, exactly so many pixels each."""
    for order, values in (("most", unit), ("least", -unit)):
        rank = values.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).view_as(values)
        for share in SHARES:
            yield f"{order} {share}", (rank >= round(share / 100 * SIZE**2)).float()


def changed(images: Tensor, unit: Tensor) -> Iterator[Tensor]:
    names = [f"image {number}" for number in range(len(images))]
    for change, keep in keeps(unit):
        fill = noisy_linear.fill(images, Context(keep, None, names, ("benchmark",), change))
        yield torch.lerp(fill, images, keep.unsqueeze(1))


def filling(channels: int, rounds: int) -> None:
    classifier, image, unit = network(channels), scans(channels)[:1], maps()[:1]
    masks, imputer = [keep[0] for _, keep in keeps(unit)], peer.NoisyLinearImputer()
    turns: dict[str, Callable[[], object]] = {
        "forwards": lambda: [classifier(image) for _ in masks],
        "ours": lambda: list(changed(image, unit)),
        "grad-cam": lambda: [imputer(image[0], mask) for mask in masks],
    }
    took = take(turns, rounds)
    line(f"filling / forward, resnet18, {channels} channel(s)", took.ratio("ours", "forwards"), 1)
    line(f"grad-cam's filling / ours, {channels} channel(s)", took.ratio("grad-cam", "ours"), 10, at_least=True)


def road(channels: int, rounds: int) -> None:
    classifier, images, unit = network(channels), scans(channels), maps()
    theirs, targets = peer.ROADCombined(percentiles=list(SHARES)), [SoftmaxTarget(0)] * BATCH

    def ours() -> Tensor:
        classifier(images)  # the unchanged ones, which the engine asks about too
        scores = torch.stack([classifier(some).softmax(dim=1)[:, 0] for some in changed(images, unit)])
        most, least = scores.view(2, len(SHARES), BATCH).mean(dim=1)
        return least - most

    turns: dict[str, Callable[[], object]] = {
        "forwards": lambda: [classifier(images) for _ in range(9)],
        "ours": ours,
        "grad-cam": lambda: theirs(images, unit.numpy(), targets, classifier),
    }
    took, what = take(turns, rounds), f"resnet18 x {BATCH}, {channels} channel(s)"
    line(f"ROAD / its forwards, {what}", took.ratio("ours", "forwards"), 1.6)
    line(f"grad-cam's ROADCombined / ours, {what}", took.ratio("grad-cam", "ours"), GOALS[channels], at_least=True)
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
        for channels in GOALS:
            parts[part](channels, asked.rounds)


if __name__ == "__main__":
    main()
