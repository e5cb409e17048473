"""Measure everything that is relevant on a GPU, in one script of at most eight minutes.

    python benchmarks/gpu.py [--device cuda] [--networks resnet50 efficientnet_b0 vit_base_patch16_224] [--batch 32] [--rounds 7]

forward     images per second: plain, channels_last, folded, both, and bfloat16 with both
CAMs        Grad-CAM and six CAMs of the default layer, over the bare forward
batteries   masking, ranking (ROAD) and their share of the same number of bare forwards
training    our epoch over a bare loop with the same batches, float32 and bfloat16 autocast
agreement   logits, maps and scores of the device compared with a CPU: largest difference, as a share of the largest value

Competitors take turns. Each figure is a median of the rounds in wall time, and a turn ends when the device has finished.
Parts that do not fit into the remaining time are not started; the last line lists them.
`--device cpu --networks test_resnet --size 64` tests the script without a GPU.
"""

import argparse
import copy
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from plain import plain_methods
from torch import Tensor
from torch.nn import functional
from turns import Took, take

from gradfaith.attribution.bound_method import MethodCall, bind_methods
from gradfaith.attribution.contract import MapsWithDiagnostics
from gradfaith.attribution.shared_passes import open_shared_passes
from gradfaith.config.sections import Passes, Recipe
from gradfaith.config.study import PluginUse
from gradfaith.metrics.contract import MethodMaps
from gradfaith.metrics.runners import masking
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.speed import prepare_for_speed
from gradfaith.models.training import loop, optimiser
from gradfaith.models.training.checkpoints import SignalListener
from gradfaith.models.training.image_source import ImagesOnDevice
from gradfaith.models.training.optimiser import LossWeights
from gradfaith.models.training.training_run import TrainingData, TrainingRun
from gradfaith.runtime.device import AdaptiveBatch, choose_device, device_name, keep_freed_memory, synchronise
from gradfaith.scoring.score_rows import load_plugins

SECONDS = 8 * 60
SIX = ("gradcam", "gradcam_pp", "layercam", "hirescam", "xgradcam", "shapleycam")
BATTERIES = {
    "masking": (("average_drop", "increase_in_confidence", "faith"), "black"),
    "ranking": (("road",), "noisy_linear"),
}
PASSES = {
    "plain": Passes(channels_last=False, fold_batch_norm=False),
    "channels_last": Passes(channels_last=True, fold_batch_norm=False),
    "folded": Passes(channels_last=False, fold_batch_norm=True),
    "both": Passes(channels_last=True, fold_batch_norm=True),
    "bf16, both": Passes(channels_last=True, fold_batch_norm=True, precision="bf16"),
}
STEPS = 8  # of an epoch


class Bench:
    """One network on one device, with images on that device."""

    def __init__(self, name: str, asked: argparse.Namespace, device: torch.device) -> None:
        self.name, self.rounds, self.device = name, asked.rounds, device
        self.on_cpu = build_classifier(ClassifierSpec(name, 3, 1, 3, asked.size, 0.5, 0.25)).eval()
        for parameter in self.on_cpu.parameters():
            parameter.requires_grad_(False)
        self.classifier = copy.deepcopy(self.on_cpu).to(device)
        draw = torch.Generator().manual_seed(0)
        self.images = torch.rand(asked.batch, 1, asked.size, asked.size, generator=draw).to(device)

    def take(self, turns: Mapping[str, Callable[[], object]]) -> Took:
        def ended(work: Callable[[], object]) -> Callable[[], object]:
            def turn() -> None:
                work()
                synchronise(self.device)

            return turn

        return take({name: ended(work) for name, work in turns.items()}, self.rounds)

    def ratio(self, took: Took, one: str, other: str, what: str) -> None:
        print(f"{self.name:24} {what:44} {took.ratio(one, other)[0]:.3f}", flush=True)


@torch.no_grad()
def answer(classifier: Classifier, images: Tensor) -> Tensor:
    return classifier(images)  # type: ignore[no-any-return]


def explain(classifier: Classifier, images: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the maps of some CAMs, computed as in a job: one forward, one short backward."""
    methods = bind_methods(classifier, plain_methods(names))
    layers, curved = [layer for method in methods for layer in method.layers], "shapleycam" in names
    rows, target = (
        torch.arange(len(images), device=images.device),
        torch.zeros(len(images), dtype=torch.long, device=images.device),
    )
    with open_shared_passes(
        classifier, images, layers, chunk=AdaptiveBatch("auto", images.device), curved=curved
    ) as shared:
        inputs = shared.for_target(target, rows, "logit")
        found = {method.label: method.attribute(MethodCall(inputs, [], (1, 1), None)) for method in methods}
    return {name: maps.maps if isinstance(maps, MapsWithDiagnostics) else maps for name, maps in found.items()}


def score(classifier: Classifier, images: Tensor, maps: Tensor, battery: str) -> masking.BatteryResults:
    names, imputer = BATTERIES[battery]
    rows = torch.arange(len(images))
    stored = {("layercam", 0): MethodMaps(maps, "native", False, rows, torch.zeros(len(images), dtype=torch.long))}
    metrics = load_plugins("faithfulness", {name: PluginUse(use=name) for name in names})
    fills = load_plugins("imputers", {imputer: PluginUse(use=imputer)})
    mean = torch.full((1,), 0.4, device=images.device)
    ids = [f"image-{row}" for row in range(len(images))]
    return masking.run_battery(classifier, images, stored, metrics, fills, mean=mean, image_ids=ids, chunk=len(images))


def forward(bench: Bench) -> None:
    networks = {name: prepare_for_speed(bench.classifier, passes) for name, passes in PASSES.items()}
    took = bench.take({name: partial(answer, network, bench.images) for name, network in networks.items()})
    for name in networks:
        print(f"{bench.name:24} forward, {name:35} {len(bench.images) / took.seconds(name):.1f} images/s", flush=True)


def cams(bench: Bench) -> None:
    inputs = (bench.classifier, bench.images)
    took = bench.take(
        {
            "forward": partial(answer, *inputs),
            "Grad-CAM": partial(explain, *inputs, SIX[:1]),
            "six CAMs": partial(explain, *inputs, SIX),
        }
    )
    for name in ("Grad-CAM", "six CAMs"):
        bench.ratio(took, name, "forward", f"{name} / forward")


def batteries(bench: Bench) -> None:
    maps = explain(bench.classifier, bench.images, ("layercam",))["layercam"]
    for battery in BATTERIES:
        count = score(bench.classifier, bench.images, maps, battery).passes_run
        passes = -(-count // len(bench.images))

        def bare(passes: int = passes) -> None:
            for _ in range(passes):
                answer(bench.classifier, bench.images)

        work = partial(score, bench.classifier, bench.images, maps, battery)
        bench.ratio(
            bench.take({"battery": work, "bare": bare}),
            "battery",
            "bare",
            f"{battery}, {count} images / as many bare forwards",
        )


def training(bench: Bench) -> None:
    for precision in ("float32", "bf16"):
        recipe = Recipe(epochs=1, batch=len(bench.images), precision=precision)  # type: ignore[arg-type]
        took = bench.take({"ours": epoch_of_ours(bench, recipe), "bare": bare_epoch(bench, recipe)})
        bench.ratio(took, "bare", "ours", f"training, {precision}: throughput over a bare loop's")
        print(
            f"{bench.name:24} training, {precision}: {STEPS * recipe.batch / took.seconds('ours'):.1f} images/s",
            flush=True,
        )


def epoch_of_ours(bench: Bench, recipe: Recipe) -> Callable[[], None]:
    n, side = STEPS * recipe.batch, bench.images.shape[-1]
    images = torch.randint(0, 256, (n + recipe.batch, 1, side, side), dtype=torch.uint8).to(bench.device)
    weighing = LossWeights(torch.arange(len(images)) % 3, torch.ones(3), None, 0.0)
    data = TrainingData(ImagesOnDevice(images), torch.arange(n), torch.arange(n, len(images)), weighing)
    run = TrainingRun(copy.deepcopy(bench.on_cpu).requires_grad_().to(bench.device), recipe, data, seed=0)
    watch = loop.TrainingWatch(run, None, SignalListener())

    def epoch() -> None:
        run.history.clear()
        run.best_epoch = 0
        loop.train_epoch(run, watch)

    return epoch


def bare_epoch(bench: Bench, recipe: Recipe) -> Callable[[], None]:
    classifier = copy.deepcopy(bench.on_cpu).requires_grad_().to(bench.device)
    optimizer = optimiser.build_optimizer(classifier, recipe, bench.device)
    labels = torch.arange(recipe.batch, device=bench.device) % 3

    def epoch() -> None:
        classifier.train()
        for _ in range(STEPS):
            with torch.autocast(bench.device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = classifier(bench.images)
            loss = functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        classifier.eval()
        answer(classifier, bench.images)

    return epoch


def agreement(bench: Bench) -> None:
    images = bench.images[:4].cpu()
    found = []
    for network, some in ((bench.on_cpu, images), (bench.classifier, images.to(bench.device))):
        maps = explain(network, some, SIX)
        scores = score(network, some, maps["layercam"], "masking").by_method["layercam", 0]
        values = {"logits": answer(network, some)} | maps
        values |= {
            f"{metric} ({imputer})": torch.as_tensor(result.value) for (metric, imputer), result in scores.items()
        }
        found.append({name: value.double().cpu() for name, value in values.items()})
    gaps = {
        name: (found[0][name] - found[1][name]).abs().max() / found[0][name].abs().max().clamp(min=1e-12)
        for name in found[0]
    }
    print(
        f"{bench.name:24} agreement with a CPU: " + ", ".join(f"{name} {float(gap):.0e}" for name, gap in gaps.items()),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", nargs="+", default=["resnet50", "efficientnet_b0", "vit_base_patch16_224"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    started, device = time.monotonic(), choose_device(asked.device, torch.get_num_threads())
    keep_freed_memory()
    print(
        f"torch {torch.__version__}, {device_name(device)}, {asked.batch} images at {asked.size} px, {asked.rounds} rounds"
    )
    left, longest = [], 0.0
    for part in (forward, cams, batteries, training, agreement):
        for name in asked.networks:
            if time.monotonic() - started + longest > SECONDS:
                left.append(f"{part.__name__} of {name}")
                continue
            begun = time.monotonic()
            part(Bench(name, asked, device))
            longest = max(longest, time.monotonic() - begun)
    print(f"{time.monotonic() - started:.0f} s; left out for time: {', '.join(left) or 'nothing'}")


if __name__ == "__main__":
    main()
