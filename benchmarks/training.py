"""Training against a bare loop: what gathering, augmentation, scheduling and validation add to forward and backward.

    ratio = seconds of one epoch of gradfaith.models.train / seconds of the same steps on ready-made random batches

Both sides take turns in one process; the median of the paired ratios is printed, with their range.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor
from torch.nn import functional

from gradfaith.models.build import Classifier, Spec, build
from gradfaith.models.recipe import Recipe
from gradfaith.models.train import train

OPTIONS = {"resnet10t": {"channels": [24, 48, 96, 160], "stem_width": 16}}


def bare(classifier: Classifier, batches: list[tuple[Tensor, Tensor]], validation: Tensor) -> float:
    """Seconds of the least that an epoch can be: steps on batches that lie ready, and one pass over validation."""
    optimizer = torch.optim.AdamW(classifier.parameters(), fused=True)
    started = time.perf_counter()
    classifier.train()
    for pictures, labels in batches:
        loss = functional.cross_entropy(classifier(pictures), labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
    classifier.eval()
    with torch.inference_mode():
        classifier(validation)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet10t")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()

    spec = Spec(asked.arch, 3, 1, 1, asked.size, 0.4, 0.25, OPTIONS.get(asked.arch, {}))
    recipe = Recipe(epochs=1, batch=16, rotate=10, scale=0.1)
    torch.set_num_threads(recipe.threads)
    n, val = asked.images, asked.images // 4
    images = torch.randint(0, 256, (n + val, 1, asked.size, asked.size), dtype=torch.uint8)
    labels = torch.arange(n + val) % 3
    parts = {"train": torch.arange(n), "val": torch.arange(n, n + val)}
    floats = images.float() / 255
    batches = list(zip(floats[:n].split(recipe.batch), labels[:n].split(recipe.batch), strict=True))
    classifier = build(spec, seed=0)

    ratios = []
    for _ in range(asked.rounds + 1):
        floor = bare(classifier, batches, floats[n:])
        ratios.append(train(spec, recipe, images, labels, parts, seed=0).history[0].seconds / floor)
    ratios = ratios[1:]  # the first round warms up
    print(f"{asked.arch} at {asked.size} px: an epoch costs {statistics.median(ratios):.3f} x the bare loop")
    print(f"{asked.rounds} paired rounds, {min(ratios):.3f} to {max(ratios):.3f}; {n} images, {recipe.threads} thread")


if __name__ == "__main__":
    main()
