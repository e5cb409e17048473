"""A study whose models use known evidence: scores by the product's own metrics, tables by its own statistics, then the verdict.

    response_w = mean over window w of (pixel - 1/2) filter / amplitude          1: the filter's pattern is complete there
    logits     = (0, gain (max_w response_w - bias))                             classes: normal, lesion
    map        = max(response_w, 0), one cell per window

An image has 64 windows. An image of class `lesion` has the lesion's pattern in one window and the marker's pattern in the
corner; one of class `normal` has neither. All filters have the mean zero, so whatever fills a window removes its response.

    lesion    its filter is the lesion's pattern: it reads the lesion, and its map shows where
    sharp     the same with less noise in the filter, and lesions in the lower half: no map reaches the marker's corner
    marker    its filter is the marker's pattern: it reads the marker
    random    its filter is noise with small weights: it reads nothing
    blob      the network of `lesion`, explained by a blob in the centre
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from gradfaith import registry, rng
from gradfaith.attribution.cell import shuffle_maps
from gradfaith.attribution.contract import ControlInputs
from gradfaith.config.verdict import GATES, Verdict
from gradfaith.metrics.contract import MethodMaps
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.maps.rank_correlation import rank_agreement
from gradfaith.metrics.runners.agreement import ComparedImages, ModelMaps, compare_seeds
from gradfaith.metrics.runners.localization import localize
from gradfaith.metrics.runners.masking import run_battery
from gradfaith.scoring.score_rows import ScoredMaps, join_score_table
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.comparisons import Comparisons
from gradfaith.stats.contrasts import estimate_contrasts
from gradfaith.stats.estimates import estimate_scores
from gradfaith.stats.gates import GateRules, GateTables
from gradfaith.stats.interval_scales import Bounds, IntervalRule
from gradfaith.stats.verdict import MethodVerdict, judge_method
from gradfaith.vocabulary import RANDOMISATION, SHUFFLED, Grid

SIDE, WINDOW, COPIES, AMPLITUDE = 64, 8, 5, 0.4
GRID = (SIDE // WINDOW, SIDE // WINDOW)
CLASSES, ARCH, METHOD = ["normal", "lesion"], "net", "cam"
LESION = torch.tensor([[1.0, -1], [-1, 1]]).repeat_interleave(2, 0).repeat_interleave(2, 1).repeat(2, 2)
MARKER = torch.tensor([1.0, -1]).repeat_interleave(2).repeat(2).expand(WINDOW, WINDOW)
KINDS = ("lesion", "sharp", "marker", "random", "blob")
NOISE = {"sharp": 0.05}  # in a filter; of other kinds 0.4
LOCALIZATION, IMPUTERS = ("saliency_score", "iou_area_matched", "shortcut_lift"), ("black", "blur")
RANDOMISED = ("top_down 1/1", "bottom_up 1/1")
CONTROLS = registry.names("controls")
Maps = tuple[Tensor, Grid]  # (n, h, w)


@dataclass(frozen=True)
class Network:
    """A filter that is searched for in every window."""

    weights: Tensor  # (8, 8)
    gain: float
    bias: float

    def responses(self, images: Tensor) -> Tensor:  # (n, 1, h, w) -> (n, 8, 8)
        windows = images[:, 0].unfold(1, WINDOW, WINDOW).unfold(2, WINDOW, WINDOW)  # (n, 8, 8, 8, 8)
        return ((windows - 0.5) * self.weights / AMPLITUDE).mean(dim=(-2, -1))

    def __call__(self, images: Tensor) -> Tensor:  # (n, 1, h, w) -> (n, 2)
        highest = self.responses(images).flatten(1).amax(dim=1)
        return torch.stack([torch.zeros_like(highest), self.gain * (highest - self.bias)], dim=1)

    @classmethod
    def of(cls, kind: str, draw: Generator) -> "Network":
        """Return one training of a kind of network: its pattern with noise of its own, or noise alone."""
        noise = torch.randn(WINDOW, WINDOW, generator=draw)
        noise = noise - noise.mean()
        if kind == "random":
            return cls(noise, gain=1.0, bias=0.0)
        return cls((MARKER if kind == "marker" else LESION) + NOISE.get(kind, 0.4) * noise, gain=8.0, bias=0.5)


@dataclass(frozen=True)
class PlantedStudy:
    """One draw of images and trainings: the study's scores and predictions."""

    kind: str
    repetition: int
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    patients: int = 12  # per class, with one image each
    key: tuple[object, ...] = field(default=("planted study",))

    def stream(self, *purpose: object) -> Generator:
        return Generator().manual_seed(rng.seed(*self.key, self.repetition, *purpose))

    @cached_property
    def about(self) -> pd.DataFrame:
        """Return image_id, group and label of every image."""
        rows = [(f"{label}-{p}-image", f"{label}-{p}", label) for label in CLASSES for p in range(self.patients)]
        return pd.DataFrame(rows, columns=["image_id", "group", "label"]).assign(part="test")

    @cached_property
    def windows(self) -> NDArray[np.int64]:  # (n,)
        """Return the window of every image's lesion; -1: none. The corner stays free for the marker."""
        first = GRID[0] * GRID[1] // 2 if self.kind == "sharp" else 1
        drawn = torch.randint(first, GRID[0] * GRID[1], (len(self.about),), generator=self.stream("place")).numpy()
        return np.where(self.about["label"] == "lesion", drawn, -1)

    @cached_property
    def images(self) -> Tensor:  # (n, 1, h, w)
        images = 0.3 + 0.2 * torch.rand(len(self.about), 1, SIDE, SIDE, generator=self.stream("noise"))
        for image, window in zip(images, self.windows, strict=True):
            if window >= 0:
                image[(0, *_place(0))] = 0.5 + AMPLITUDE * MARKER
                image[(0, *_place(window))] = 0.5 + AMPLITUDE * LESION
        return images

    def regions(self) -> dict[str, Region]:
        masks = np.zeros((2, len(self.about), SIDE, SIDE), dtype=bool)
        for row, window in enumerate(self.windows):
            if window >= 0:
                masks[(0, row, *_place(window))] = masks[(1, row, *_place(0))] = True
        return {"evidence": Region(masks[0]), "shortcut": Region(masks[1])}

    def network(self, seed: int) -> Network:
        return Network.of("lesion" if self.kind == "blob" else self.kind, self.stream("training", self.kind, seed))

    @cached_property
    def organ(self) -> Tensor:  # (n, h, w)
        organ = torch.ones(len(self.about), SIDE, SIDE, dtype=torch.bool)
        organ[:, :2], organ[:, -2:] = False, False
        return organ

    def control(self, name: str, seed: int) -> Maps:
        """Return the raw maps of a control."""
        module, streams = (
            registry.load("controls", name),
            [self.stream(name, seed, image) for image in self.about["image_id"]],
        )
        return module.attribute(ControlInputs(self.images, GRID, streams, self.organ)), module.METHOD.grid

    def map_of(self, network: Network) -> Maps:
        """Return the raw maps of the method."""
        return (
            self.control("centre", 0)
            if self.kind == "blob"
            else (network.responses(self.images).clamp(min=0), "native")
        )

    def shuffled(self, maps: Maps, seed: int) -> list[Tensor]:
        raw, grid = maps
        streams = [
            [self.stream("shuffle", seed, copy, name) for name in self.about["image_id"]] for copy in range(COPIES)
        ]
        return [shuffle_maps(raw, own, grid) for own in streams]

    # predictions and scores
    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Return one row per seed and image."""
        frames = []
        for seed in self.seeds:
            predicted = np.array(CLASSES)[self.network(seed)(self.images).argmax(dim=1).numpy()]
            frames.append(self.about.assign(arch=ARCH, seed=seed, predicted=predicted, seconds=0.0))
        table = pd.concat(frames, ignore_index=True)
        return table.assign(correct=table["label"] == table["predicted"])

    def scores(self) -> pd.DataFrame:
        """Return all scores, by the product's metrics."""
        tables = [table for seed in self.seeds for table in self._of_seed(seed)]
        return pd.concat([*tables, *self._agreement()], ignore_index=True)

    def _of_seed(self, seed: int) -> Iterator[pd.DataFrame]:
        network = self.network(seed)
        own = self.map_of(network)
        of_method = {(SHUFFLED + METHOD, copy): (raw, own[1]) for copy, raw in enumerate(self.shuffled(own, seed))}
        of_method[METHOD, 0] = own
        yield self._table(
            list(self._localized(of_method | {(name, 0): self.control(name, seed) for name in CONTROLS})), seed, "true"
        )
        faith = [
            ScoredMaps(method, copy, "", metric, variant, result)
            for (method, copy), by_metric in self._faith(network, of_method).items()
            for (metric, variant), result in by_metric.items()
        ]
        randomised = [
            ScoredMaps(
                METHOD, 0, "", RANDOMISATION, order, rank_agreement(own[0].numpy(), self.map_of(other)[0].numpy())
            )
            for order in RANDOMISED
            for other in [Network.of("random", self.stream("random weights", seed, order))]
        ]
        yield self._table(faith + randomised, seed, "predicted")

    def _localized(self, every: dict[tuple[str, int], Maps]) -> Iterator[ScoredMaps]:
        metrics: Any = {name: (registry.load("localization", name), {}) for name in LOCALIZATION}
        how: dict[str, Any] = {"signed": False, "size": (SIDE, SIDE), "regions": self.regions(), "metrics": metrics}
        for (method, copy), (raw, grid) in every.items():
            for (metric, variant), result in localize(raw.numpy(), grid=grid, **how).items():
                yield ScoredMaps(method, copy, "", metric, variant, result)

    def _faith(self, network: Network, every: dict[tuple[str, int], Maps]) -> Any:
        predicted = network(self.images).argmax(dim=1)
        stored = {
            key: MethodMaps(raw, grid, False, torch.arange(len(self.about)), predicted)
            for key, (raw, grid) in every.items()
        }
        imputers = {name: (registry.load("imputers", name), {}) for name in IMPUTERS}
        how: dict[str, Any] = {
            "image_ids": list(self.about["image_id"]),
            "mean": torch.tensor([0.4]),
            "key": self.key,
            "chunk": 64,
        }
        metrics = {"faith": (registry.load("faithfulness", "faith"), {})}
        return run_battery(network, self.images, stored, metrics, imputers, **how).by_method

    def _agreement(self) -> Iterator[pd.DataFrame]:
        """Yield Consist of every pair of seeds, on the same image and between images."""
        if len(self.seeds) < 2:
            return
        ids, groups, labels = (list(self.about[name]) for name in ("image_id", "group", "label"))
        maps = {seed: self.map_of(self.network(seed)) for seed in self.seeds}
        consist: Any = {"consist": (registry.load("agreement", "consist"), {})}
        models = {seed: ModelMaps(raw.numpy(), grid, False, (SIDE, SIDE), ids) for seed, (raw, grid) in maps.items()}
        for pair in compare_seeds(models, ComparedImages(ids, groups, labels), consist, key=self.key):
            scored = [ScoredMaps(METHOD, 0, "", pair.metric, pair.variant, pair.result)]
            yield self._table(scored, pair.seed, "true").assign(arch2=ARCH, seed2=pair.seed2)

    def _table(self, scored: list[ScoredMaps], seed: int, target: str) -> pd.DataFrame:
        own = self.predictions[self.predictions["seed"] == seed].set_index("image_id")
        columns = {"arch": ARCH, "seed": seed, "target": target}
        return join_score_table(scored, list(self.about["image_id"]), own, columns)


METRICS = {"localization": LOCALIZATION, "faithfulness": ("faith",), "agreement": ("consist",)}
DECLARED = {name: registry.entry(family, name).declared for family, names in METRICS.items() for name in names}
DECLARED |= {RANDOMISATION: {"better": "lower", "bounds": (-1, 1)}}
BETTER = {name: declared["better"] for name, declared in DECLARED.items()}
BOUNDS = {name: Bounds.of(declared["bounds"]) for name, declared in DECLARED.items()}
MARGINS = Verdict().model_dump(include=set(GATES)) | {"balanced_accuracy": 0.75}
GATE_METRICS = {
    "balanced_accuracy": "balanced_accuracy", "localization": "saliency_score", "faith_gain": "faith",
    "randomisation": RANDOMISATION, "consistency": "consist", "shortcut_lift": "shortcut_lift",
}  # fmt: skip
RULES = GateRules(
    margins=MARGINS, metrics=GATE_METRICS, untested={}, localization_variant="", controls=CONTROLS, classes=CLASSES,
    better=BETTER, bounds=BOUNDS, min_groups=8,
)  # fmt: skip


def tables_of(study: PlantedStudy) -> GateTables:
    """Return the tables that the rule `estimate` makes of a study's scores and predictions."""
    scores, rule = study.scores(), IntervalRule(bounds=BOUNDS)
    asked = Comparisons(list(scores["method"].unique()), CONTROLS, BETTER)
    contrasts = estimate_contrasts([scores], asked, rule=rule)
    return GateTables(
        estimate_classification(study.predictions, CLASSES, rule=rule), estimate_scores([scores], rule=rule), contrasts
    )


def verdict_of(kind: str, repetition: int, **how: Any) -> MethodVerdict:
    """Return the verdict on the maps of one kind of network in one draw of images and trainings."""
    return judge_method(tables_of(PlantedStudy(kind, repetition, **how)), ARCH, METHOD, RULES)


def is_right(verdict: MethodVerdict) -> Mapping[str, bool]:
    """Return kind -> whether the verdict is what the evidence of this kind of network asks for."""
    status = {gate.name: gate.status for gate in verdict.gates}
    return {
        "lesion": all(status[name] == "pass" for name in ("localization", "faith_gain", "randomisation")),
        "sharp": set(status.values()) <= {"pass", "not testable"},  # one seed leaves consistency not testable
        "marker": status["shortcut_lift"] == "fail" and status["localization"] != "pass",
        "random": "fail" in (status["faith_gain"], status["randomisation"]),
        "blob": all(status[name] != "pass" for name in ("localization", "faith_gain", "randomisation", "consistency")),
    }


def _place(window: int) -> tuple[slice, slice]:
    top, left = window // GRID[1] * WINDOW, window % GRID[1] * WINDOW
    return slice(top, top + WINDOW), slice(left, left + WINDOW)
