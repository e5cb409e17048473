"""Compute every metric for every map of a planted image, one function per kind of metric. For metrics_planted.py."""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import planted
import torch
from numpy.typing import NDArray

from gradfaith import registry
from gradfaith.metrics.contract import RerunBatch, Result
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.runners import rerun
from gradfaith.metrics.runners.localization import localize
from gradfaith.metrics.runners.masking import run_battery
from gradfaith.scoring.composite import score_composite
from gradfaith.vocabulary import RERUN_BATTERY, SHUFFLED

IMPUTERS = registry.names("imputers")
FIRST = {
    "masking": "black",
    "ranking": "noisy_linear",
    RERUN_BATTERY: "black",
    "": "black",
}  # kind -> the imputer whose numbers are shown
FAMILIES = tuple(name for name, room in registry.PLUGIN_GROUPS.items() if room.declaration == "METRIC")
GAIN = "faith, gain over shuffled"
SHUFFLES = SHUFFLED.removesuffix("-")
HOW: Mapping[str, Any] = {"mean": torch.tensor([0.4]), "key": ("planted",), "chunk": 64}
Name = tuple[str, str, str]  # family, metric, variant
Key = tuple[str, int]  # a map, and which copy of it
Maps = Mapping[Key, tuple[torch.Tensor, Any]]  # raw (1, h, w), and its grid
Numbers = dict[Name, dict[Key, float]]


def why_not(family: str, module: ModuleType) -> str:
    """Return why a metric has no verdict here; an empty text if it has one."""
    if module.METRIC.better == "neither":
        return "neither a high nor a low value is better"
    if module.METRIC.rival:
        return "it compares the maps of two classes, and these models have one"
    if family not in BY_FAMILY:
        return f"this page tests no {family} metrics"
    untested = [part for part in module.METRIC.parts if why_not("faithfulness", registry.load("faithfulness", part))]
    if family == "composite" and untested:
        return f"its part {untested[0]} is not tested"
    return "" if module.METRIC.battery in FIRST else f"this page tests no metrics of battery {module.METRIC.battery}"


def asked(family: str, *batteries: str) -> dict[str, tuple[ModuleType, dict[str, Any]]]:
    """Return the metrics of a family that have a verdict, with their default options."""
    modules = {name: registry.load(family, name) for name in registry.names(family)}
    wanted = batteries or ("",)
    return {
        name: (module, {})
        for name, module in modules.items()
        if module.METRIC.battery in wanted and not why_not(family, module)
    }


def scores(image: planted.Planted) -> Numbers:
    """Return the scores of the true map, every control, shuffled copies, a dense map and its transformations."""
    given = planted.maps(image)
    maps = {(name, 0): pair for name, pair in given.items()}
    true, grid = given[planted.TRUE]
    maps |= {
        (SHUFFLES, place): (copy, grid) for place, copy in enumerate(planted.copies(image, planted.TRUE, true, grid))
    }
    dense = planted.dense(image)
    bent = {("dense", 0): (dense, "input")} | {
        (name, 0): (bend(dense), "input") for name, bend in planted.BENDS.items()
    }
    found: Numbers = {}
    for ask in (_masked_and_ranked, _localized, _agreed):
        found |= ask(image, {**maps, **bent})
    found |= _asked_again(image, maps)
    return found | _composed(found) | dict(_gains(image, given))


def _imputers() -> dict[str, tuple[ModuleType, dict[str, Any]]]:
    return {name: (registry.load("imputers", name), {}) for name in IMPUTERS}


def _masked_and_ranked(image: planted.Planted, maps: Maps, metrics: Any = None) -> Numbers:
    stored = {key: planted.stored(*pair) for key, pair in maps.items()}
    metrics = metrics or asked("faithfulness", "masking", "ranking")
    how = {"image_ids": [image.name], "regions": image.regions, **HOW}
    found = run_battery(image.model, image.image, stored, metrics, _imputers(), **how).by_method
    return _by_name("faithfulness", found)


def _asked_again(image: planted.Planted, maps: Maps) -> Numbers:
    """Return the scores of metrics that run the method again, also for a model that uses a decoy."""

    def explain(wanted: RerunBatch) -> dict[Key, torch.Tensor]:
        found = {}
        for (name, copy), rows in wanted.wanted.items():
            maker = planted.TRUE if name == SHUFFLES else name
            raw = planted.again(image, wanted.images[rows], wanted.model == "trained", maker)
            found[name, copy] = planted.copied(image, maker, raw, "input", copy) if name == SHUFFLES else raw
        return found

    stored = {key: planted.stored(*pair) for key, pair in maps.items()}
    metrics = asked("faithfulness", RERUN_BATTERY)
    return _by_name(
        "faithfulness",
        rerun.run_battery(explain, image.image, stored, metrics, _imputers(), image_ids=[image.name], **HOW).by_method,
    )


def _by_name(family: str, found: Mapping[Any, Mapping[Any, Result]]) -> Numbers:
    """Return a runner's results of one image, metric by metric."""
    pairs = next(iter(found.values()))
    return {(family, *pair): {key: float(of[pair].value[0]) for key, of in found.items()} for pair in pairs}


def _localized(image: planted.Planted, maps: Maps) -> Numbers:
    metrics, size = asked("localization"), (planted.SIDE, planted.SIDE)
    regions = {"evidence": Region(image.evidence.numpy()[None])}
    return _by_name("localization", {
        key: localize(raw.numpy(), grid=grid, signed=False, size=size, regions=regions, metrics=metrics)
        for key, (raw, grid) in maps.items()
    })  # fmt: skip


def _agreed(image: planted.Planted, maps: Maps) -> Numbers:
    """Return the agreement of two models that use the same window, each with its own random controls."""
    second = {(name, 0): pair for name, pair in planted.maps(image, draw=1).items()}
    second[SHUFFLES, 0] = maps[SHUFFLES, 1]
    second |= dict.fromkeys((("dense", 0), *((bend, 0) for bend in planted.BENDS)), maps["dense", 0])
    found: Numbers = {}
    for metric, (module, _) in asked("agreement").items():
        for key, pair in second.items():
            here, there = (module.ready(_read(module, *one)) for one in (maps[key], pair))
            score = module.score(here, there)
            none = score.undefined is not None and bool(score.undefined[0])
            found.setdefault(("agreement", metric, ""), {})[key] = float("nan") if none else float(score.value[0])
    return found


def _read(module: ModuleType, raw: torch.Tensor, grid: Any) -> NDArray[Any]:
    """Return a map on its own grid, or as it is evaluated at the image's size."""
    if module.METRIC.grid == "native":
        return raw.numpy()
    unit: NDArray[Any] = evaluate(raw.numpy(), grid=grid, signed=False, size=(planted.SIDE, planted.SIDE)).unit
    return unit


def _composed(found: Numbers) -> Numbers:
    """Return composites, map by map; `found` has all of their parts."""
    made: Numbers = {}
    for (metric, (module, options)), imputer in (
        (pair, name) for pair in asked("composite").items() for name in IMPUTERS
    ):
        parts = {part: found["faithfulness", part, own or imputer] for part, own in module.METRIC.parts.items()}
        keys = list(next(iter(parts.values())))
        keys = [key for key in keys if all(key in part for part in parts.values())]
        result = score_composite(
            module, {name: _result([part[key] for key in keys]) for name, part in parts.items()}, options
        )
        made["composite", metric, imputer] = dict(zip(keys, map(float, result.value), strict=True))
    return made


def _result(values: list[float]) -> Result:
    numbers = np.array(values)
    return Result(numbers, np.where(np.isfinite(numbers), "ok", "undefined"), np.full(len(numbers), ""))


def _gains(image: planted.Planted, given: Mapping[str, Any]) -> Iterator[tuple[Name, dict[Key, float]]]:
    """Return Faith minus that of shuffled copies of the same map, for every map and control."""
    copies = {
        (name, 1 + place): (copy, pair[1])
        for name, pair in given.items()
        for place, copy in enumerate(planted.copies(image, name, *pair))
    }
    maps = {**{(name, 0): pair for name, pair in given.items()}, **copies}
    found = _masked_and_ranked(image, maps, {"faith": (registry.load("faithfulness", "faith"), {})})
    for (_, _, imputer), level in found.items():
        gains = {
            (name, 0): level[name, 0] - float(np.mean([level[name, 1 + place] for place in range(planted.COPIES)]))
            for name in given
        }
        yield ("faithfulness", GAIN, imputer), gains


BY_FAMILY = ("localization", "faithfulness", "composite", "agreement")
