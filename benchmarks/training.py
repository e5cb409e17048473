"""Measure training relative to a bare loop: the cost of reading, augmentation, scheduling and validation.

    ratio = computing time of the same steps on ready-made random batches / that of one epoch of gradfaith.models.training.loop

Both sides have the same network, optimiser, precision and memory layout, and take turns in one process. The goal applies to
computing time, because machines are shared. Before that, each side runs in its own process, whose peak memory is printed. At
the end a state is saved once.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional
from turns import take

from gradfaith.config.sections import Recipe
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.models.training import loop, optimiser
from gradfaith.models.training.checkpoints import CheckpointKeeper, SignalListener
from gradfaith.models.training.image_source import ImagesOnDevice
from gradfaith.models.training.optimiser import LossWeights
from gradfaith.models.training.training_run import TrainingData, TrainingRun

GOAL = 0.95
CPU = torch.device("cpu")


def ours(asked: argparse.Namespace) -> tuple[Callable[[], object], TrainingRun]:
    """Return a function that trains one epoch per call, and its training run."""
    recipe, n = recipe_of(asked), asked.steps * asked.batch
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n + asked.batch, 1, asked.size, asked.size), dtype=torch.uint8, generator=draw)
    weighing = LossWeights(torch.arange(n + asked.batch) % 3, torch.ones(3), None, 0.0)
    data = TrainingData(ImagesOnDevice(images), torch.arange(n), torch.arange(n, n + asked.batch), weighing)
    classifier = build_classifier(spec_of(asked)).to(memory_format=layout(recipe))  # type: ignore[call-overload]
    run = TrainingRun(classifier, recipe, data, seed=0)
    watch = loop.TrainingWatch(run, None, SignalListener())

    def epoch() -> None:
        run.history.clear()
        run.best_epoch = 0
        loop.train_epoch(run, watch)

    return epoch, run


def bare(asked: argparse.Namespace) -> Callable[[], object]:
    """Return a function for a minimal epoch: steps on ready batches, and one pass over validation."""
    recipe = recipe_of(asked)
    classifier = build_classifier(spec_of(asked)).to(memory_format=layout(recipe))  # type: ignore[call-overload]
    optimizer = optimiser.build_optimizer(classifier, recipe, CPU)
    shape = (asked.batch, 1, asked.size, asked.size)
    batches = [(torch.rand(shape), torch.arange(asked.batch) % 3) for _ in range(asked.steps)]

    def epoch() -> None:
        classifier.train()
        for pictures, labels in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = classifier(pictures)
            loss = functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        classifier.eval()
        with torch.inference_mode():
            classifier(batches[0][0])

    return epoch


def spec_of(asked: argparse.Namespace) -> ClassifierSpec:
    return ClassifierSpec(asked.arch, 3, 1, 3, asked.size, 0.4, 0.25)


def recipe_of(asked: argparse.Namespace) -> Recipe:
    return Recipe(
        epochs=1, batch=asked.batch, rotate=10, scale=0.1, precision=asked.precision, channels_last=asked.channels_last
    )


def layout(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.channels_last else torch.preserve_format


def peak(side: str, asked: argparse.Namespace) -> int:
    """Return the peak memory in MB of a process that runs only one side's epoch."""
    torch.set_num_threads(1)
    (ours(asked)[0] if side == "ours" else bare(asked))()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--channels-last", action="store_true")
    asked = parser.parse_args()
    # First of all, because the peak memory of a child includes its parent's memory at the start.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {side: pool.apply(peak, (side, asked)) for side in ("ours", "bare")}
    torch.set_num_threads(1)
    epoch, run = ours(asked)
    took = take({"ours": epoch, "bare": bare(asked)}, asked.rounds)
    by_clock, computing = took.ratio("bare", "ours")
    ratios = [theirs / own for theirs, own in zip(took.computing["bare"], took.computing["ours"], strict=True)]
    met = "met" if computing >= GOAL else "missed"
    print(
        f"{asked.arch}, {asked.size} px, batch {asked.batch}, {asked.precision}, channels_last {asked.channels_last}, 1 thread"
    )
    print(
        f"throughput over the bare loop's: computing {computing:.3f} ({min(ratios):.3f} to {max(ratios):.3f}), clock {by_clock:.3f}"
    )
    print(
        f"goal {GOAL}: {met}; {asked.steps * asked.batch / took.seconds('ours'):.1f} images/s, {asked.rounds} rounds of {asked.steps} steps"
    )
    print(f"peak memory: {memory['ours']} MB, the bare loop's {memory['bare']} MB")
    with tempfile.TemporaryDirectory() as folder, CheckpointKeeper(Path(folder), {}, every=1) as keeper:
        started = time.perf_counter()
        path = keeper.save(run.state())
        print(f"a state: {path.stat().st_size / 1e6:.0f} MB, {time.perf_counter() - started:.2f} s to save")


if __name__ == "__main__":
    main()
