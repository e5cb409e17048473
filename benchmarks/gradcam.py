"""What Grad-CAM of a batch costs beside a bare forward of it: the median of paired rounds, taking turns.

    python benchmarks/gradcam.py [--rounds 15] [--threads 2]

Goal: at most 1.10. The forward is the classifier's own, in evaluation mode without gradients; Grad-CAM includes the
hook, the clones, the short backward and the map, opened and closed for every batch.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gradfaith.methods.gradcam import attribute
from gradfaith.models import layers
from gradfaith.models.build import Classifier, Spec, build
from gradfaith.models.taps import tapped

CASES = [("resnet50", 8), ("vit_base_patch16_224", 2), ("densenet161", 4), ("efficientnet_b0", 8)]
GOAL = 1.10


def bare(classifier: Classifier, images: Tensor) -> None:
    with torch.no_grad():
        classifier(images)


def explained(classifier: Classifier, images: Tensor, layer: str) -> None:
    with tapped(classifier, layer) as tap:
        attribute(tap.target(tap.forward(images).argmax(dim=1)))


def took(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of computing: the second says more on a machine shared with others."""
    clock, computing = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - computing


def compare(name: str, batch: int, rounds: int) -> tuple[float, float, float]:
    """Seconds of a forward; the median ratio explained / bare by the clock, and of computing."""
    classifier = build(Spec(name, 3, 1, 3, 224, 0.5, 0.25)).eval()
    images, layer = torch.rand(batch, 1, 224, 224), layers.default(classifier.net)
    turns = [lambda: bare(classifier, images), lambda: explained(classifier, images, layer)]
    for turn in turns:
        turn()
    rows = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)  # who goes first takes turns too
        found = {which: took(turns[which]) for which in order}
        rows.append((found[0][0], found[1][0] / found[0][0], found[1][1] / found[0][1]))
    forward, by_clock, computing = (statistics.median(column) for column in zip(*rows, strict=True))
    return forward, by_clock, computing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{'Grad-CAM / forward':24}{'batch':>6}{'forward s':>12}{'by the clock':>15}{'computing':>12}   goal {GOAL:.2f}"
    )
    for name, batch in CASES:
        forward, ratio, computing = compare(name, batch, options.rounds)
        verdict = "met" if ratio <= GOAL else "missed"
        print(f"{name:24}{batch:>6}{forward:>12.3f}{ratio:>15.3f}{computing:>12.3f}   {verdict}", flush=True)


if __name__ == "__main__":
    main()
