"""Measure the parts of the faithfulness batteries' time: forwards, imputation, random numbers, sorting, and the rest.

    python benchmarks/shares.py [--networks mobilenetv4_conv_small] [--threads 1] [--images 16] [--channels 1] [--fast] [--keep]

The work of evaluation.py: six CAMs of the default layer at 224 px, random weights; average drop and increase in confidence
(black); deletion, insertion in 20 steps and faithfulness correlation (black); ROAD (noisy_linear). `--fast`: channels_last and
folded batch norms. `--keep`: freed memory stays in the process (runtime/device.py). Computing time is charged to the
innermost part: an imputer's draws are "random numbers", not "imputation". Goals: imputation at most 10 % on
mobilenetv4_conv_small, random numbers 2 %, sorting 1 %. The last line has the number of images with and without sharing.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from batteries import maps_of
from torch import Tensor
from torch.nn.functional import interpolate

from gradfaith.config.study import PluginUse
from gradfaith.metrics.faithfulness import faithfulness_correlation
from gradfaith.metrics.imputers import black, noisy_linear
from gradfaith.metrics.runners import distinct_images, masking, masking_block
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.speed import change_layout
from gradfaith.runtime import device
from gradfaith.scoring.score_rows import load_plugins

SIZE, STEPS, SETS = 224, 20, 20
GOALS = {"imputation": 10, "random numbers": 2, "sorting": 1}  # per cent
CAMS = ("gradcam", "gradcam_pp", "layercam", "hirescam", "xgradcam", "eigencam")
BATTERIES: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "masking": ({"average_drop": {}, "increase_in_confidence": {}}, "black"),
    "curves": ({"deletion": {"steps": STEPS}, "insertion": {"steps": STEPS}, "faithfulness_correlation": {"subsets": SETS}}, "black"),
    "ROAD": ({"road": {}}, "noisy_linear"),
}  # fmt: skip
PLACES: tuple[tuple[Any, str, str], ...] = (
    (noisy_linear, "fill", "imputation"),
    (black, "fill", "imputation"),
    (noisy_linear, "_draw", "random numbers"),
    (masking_block.MapBlock, "draw", "random numbers"),
    (faithfulness_correlation, "_keep_outside_set", "random numbers"),
    (distinct_images, "rank_pixels", "sorting"),
)


class Ledger:
    """Measures seconds by part, charged to the innermost open part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    def _turn(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            self._turn()
            self._open.append(part)
            try:
                return work(*given, **named)
            finally:
                self._turn()
                self._open.pop()

        return run

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time every place of PLACES."""
        plain = [getattr(where, name) for where, name, _ in PLACES]
        for (where, name, part), work in zip(PLACES, plain, strict=True):
            setattr(where, name, self.timed(part, work))
        try:
            yield
        finally:
            for (where, name, _), work in zip(PLACES, plain, strict=True):
                setattr(where, name, work)


def scans(count: int, channels: int) -> Tensor:
    """Return images with large structures and grain, in 256 grey values."""
    draw = torch.Generator().manual_seed(1)
    large, grain = (torch.rand(count, channels, side, side, generator=draw) for side in (9, SIZE))
    return (255 * (0.8 * interpolate(large, size=(SIZE, SIZE), mode="bilinear") + 0.2 * grain)).byte().float() / 255


def measure(classifier: Classifier, images: Tensor, *, fast: bool) -> None:
    with torch.no_grad():
        target = classifier(images).argmax(dim=1)
    maps, ledger = maps_of(classifier, CAMS, images, target), Ledger()
    if fast:
        classifier = change_layout(classifier, channels_last=True, fold_batch_norm=True)
    with torch.no_grad():
        classifier(images[:8])
    ids, passes, alone = [str(row) for row in range(len(images))], 0, 0
    mean = torch.full((images.shape[1],), 0.4)
    for metrics, imputer in BATTERIES.values():
        plugins = load_plugins(
            "faithfulness", {name: PluginUse(use=name, options=own) for name, own in metrics.items()}
        )
        fills = load_plugins("imputers", {imputer: PluginUse(use=imputer)})
        with ledger.watching():
            found = ledger.timed("the rest", masking.run_battery)(
                ledger.timed("forwards", classifier),
                images,
                maps,
                plugins,
                fills,
                mean=mean,
                image_ids=ids,
                key=(0,),
                chunk=32,
            )
        passes, alone = passes + found.passes_run, alone + found.passes_requested
    total = sum(ledger.seconds.values())
    for part, seconds in sorted(ledger.seconds.items(), key=lambda item: -item[1]):
        goal, share = GOALS.get(part), 100 * seconds / total
        verdict = f"   <= {goal} {'met' if share <= goal else 'missed'}" if goal else ""
        print(f"  {part:16} {seconds:8.2f} s {share:6.1f} %{verdict}")
    print(f"  {passes} images through the network, {alone} if nothing were shared", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["mobilenetv4_conv_small"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.keep:
        device.keep_freed_memory()
    for name in asked.networks:
        spec = ClassifierSpec(name, 3, asked.channels, 3, SIZE, 0.5, 0.25)
        classifier = build_classifier(spec, seed=1).eval().requires_grad_(False)
        print(f"{name}, {asked.images} images of {asked.channels} channel(s), {asked.threads} thread(s)")
        measure(classifier, scans(asked.images, asked.channels), fast=asked.fast)


if __name__ == "__main__":
    main()
