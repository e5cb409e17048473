"""Every metric on planted truth: does the true map beat every control, and which control fools it? Writes docs/verdicts.md.

    python docs/verdicts.py

planted.py has the images, their models, the true maps and the controls. Every file in the metrics' rooms is asked, with its defaults; a
new one shows up by itself, with the first sentence of its own file until CASES says more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import planted
import torch
from numpy.typing import NDArray

from gradfaith import registry
from gradfaith.metrics.engine import run
from gradfaith.metrics.evaluated import evaluate
from gradfaith.metrics.localize import localize
from gradfaith.metrics.located import Region
from gradfaith.registry import SHUFFLED

PAGE = Path(__file__).with_name("verdicts.md")
IMPUTERS = registry.names("imputers")
FIRST = {"masking": "black", "ranking": "noisy_linear"}  # battery -> the imputer whose numbers are shown
MEAN = torch.tensor([0.4])
GAIN = "faith, gain over shuffled"
LEVEL = 0.02  # of what the worst control loses: nearer than this to the true map is as good as it
FAMILIES = tuple(name for name, room in registry.ROOMS.items() if room.declaration == "METRIC")
ASKED = ("localization", "faithfulness", "agreement")
SHUFFLES = SHUFFLED.removesuffix("-")
SAME = 1e-6  # below: nothing but rounding
COVERS = "Whatever covers the window is perfect, however much it covers besides."
ORDER = "An order is right only if the window comes first; what reads the picture's edges has to go through the decoys."
MARKED = "A recall: a map that marks everything has found the window."
MATCH = "It compares with the window at its own size, so a broad map pays for its breadth."
CASES = {
    "average_drop": COVERS,
    "average_drop_pgc": COVERS,
    "complexity": "It asks the map alone and never the model: the same map elsewhere is as small.",
    "deletion": ORDER,
    "faith": "Whatever covers the window takes the class away; where a map points is asked only by the gain over shuffled copies.",
    "faith_logit": "As Faith, in logits.",
    GAIN: "A map that is everywhere gains nothing by being where it is.",
    "faithfulness_correlation": "Sets of pixels matter as far as they hit the window, and only the true map says how far.",
    "increase_in_confidence": "The model is sure of the whole image, and as sure of the window alone: nobody scores, so nobody is told apart.",
    "infidelity": "As faithfulness_correlation, at each map's best scale.",
    "insertion": ORDER,
    "insertion_minus_deletion": ORDER,
    "road": ORDER,
    "road_pgc": "Right here, where a blank image has no class; its thresholds take all tied pixels at once, so that it can score blank images.",
    "average_precision": MATCH,
    "cosine": MATCH,
    "f1": MATCH,
    "iou": MATCH,
    "iou_area_matched": MATCH,
    "locacc": MARKED,
    "locacc_literature": MARKED,
    "recall": "A recall, but for the area-matched one: a map that marks everything has found the window.",
    "precision": "Of what is marked, the share that is window; it does not ask how much of the window.",
    "pointing_game": "One pixel per map: right by chance as often as the window is large.",
    "roc_auc": "Most of the image is neither window nor decoy, and to rank that low is easy: the edges come near.",
    "saliency_gain": MATCH,
    "saliency_score": MATCH,
    "tko_literature": MATCH,
    "topk_gain": MATCH,
    "topk_overlap": MATCH,
    "consist": "Two models that read the same window have one map; so has whatever never looks at a model.",
}
HEAD = """# Which metrics can be believed where the truth is planted

`python docs/verdicts.py` writes this page; a test runs it again and compares. It asks every metric about 24 images of which it is known
what the model reads: one window of 8 x 8 pixels out of 32 x 32, which holds a chequered pattern, and nothing else. Seven decoys hold the
same pattern, so a map that redraws the picture finds eight places and only one is right. The pattern has no mean: whatever takes
the window's place - black, a mean, a blur, its neighbours - takes the class. `docs/planted.py` is the whole of it.

The true map is 1 in the window and 0 elsewhere. It is compared with every control and with shuffled copies of itself, in the mean over the images,
under every imputer. Numbers are of the imputer (or variant) named; *fooled by* lists the controls that are as good as the true map or better, within
2 % of what the worst control loses, with the number of imputers (or variants) where there are others. `lungs` is here an organ of nine to
thirteen windows out of sixteen that holds them all: it covers what the model reads, as anatomy does.

*Values only* is the largest change of the number when the values of a dense map are bent (root, square, fifth power) and their order
stays: none for a metric of order, as it declares; the others read values too, for better or worse.

| metric | better | true map | best control | fooled by | values only | the case |
|---|---|---|---|---|---|---|"""
Name = tuple[str, str, str]  # family, metric, variant
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """One metric in one variant: its mean over the images, for the true map and every control."""

    levels: Mapping[str, float]
    better: str
    bend: float  # the largest change of a dense map's number when its values change and their order does not

    @property
    def ahead(self) -> dict[str, float]:
        """By how much each control is better than the true map, the best control first."""
        sign = {"higher": 1, "lower": -1}[self.better]
        gains = {
            name: sign * (level - self.levels[planted.TRUE])
            for name, level in self.levels.items()
            if name != planted.TRUE
        }
        return dict(sorted(gains.items(), key=lambda gain: -gain[1]))

    @property
    def rival(self) -> str:
        """The best of the controls."""
        return next(iter(self.ahead))

    @property
    def fooled_by(self) -> list[str]:
        """Controls that are as good as the true map or better."""
        span = max(0.0, -min(self.ahead.values()))
        return [name for name, gain in self.ahead.items() if gain >= -LEVEL * span - 1e-9]


def verdicts() -> dict[Name, Verdict]:
    """Every metric that can be asked here and of which one end is better."""
    scores: dict[Name, dict[str, list[float]]] = {}
    for image in planted.images():
        for name, of_map, value in _scores(image):
            scores.setdefault(name, {}).setdefault(of_map, []).append(value)
    return {name: _verdict(name, of_maps) for name, of_maps in scores.items()}


def _verdict(name: Name, of_maps: Mapping[str, list[float]]) -> Verdict:
    plain = np.array(of_maps.get("dense", []))
    bends = [float(np.abs(np.array(of_maps[bend]) - plain).max()) for bend in planted.BENDS if bend in of_maps]
    levels = {key: float(np.mean(values)) for key, values in of_maps.items() if key not in {"dense", *planted.BENDS}}
    return Verdict(
        levels, "higher" if name[1] == GAIN else _module(*name[:2]).METRIC.better, max(bends, default=np.nan)
    )


def _module(family: str, metric: str) -> ModuleType:
    return registry.load(family, metric)


def asked(family: str) -> dict[str, ModuleType]:
    """The metrics of a family that a map and a model's answers are enough for, and of which one end is better."""
    modules = {name: registry.load(family, name) for name in registry.names(family)}
    return {name: module for name, module in modules.items() if not why_not(family, module)}


def why_not(family: str, module: ModuleType) -> str:
    """Why a metric has no verdict here; nothing where it has one."""
    if family not in ASKED:
        return f"this page does not ask {family} metrics"
    if module.METRIC.better == "neither":
        return "neither of its ends is better"
    if family == "faithfulness" and module.METRIC.battery not in FIRST:
        return f"it needs the method asked again ({module.METRIC.battery}), not only its map"
    return ""


def _scores(image: planted.Planted) -> Iterator[tuple[Name, str, float]]:
    """metric, map, number; shuffled copies averaged."""
    given = planted.maps(image)
    own = {name: [pair] for name, pair in given.items()}
    own[SHUFFLES] = [
        (copy, given[planted.TRUE][1]) for copy in planted.copies(image, planted.TRUE, *given[planted.TRUE])
    ]
    dense = planted.dense(image)
    own |= {"dense": [(dense, "input")]} | {name: [(bend(dense), "input")] for name, bend in planted.BENDS.items()}
    flat = {(name, place): pair for name, pairs in own.items() for place, pair in enumerate(pairs)}
    for found in (_faithfulness(image, flat), _localization(image, flat), _agreement(image)):
        for name, numbers in found.items():
            for of_map in dict.fromkeys(key for key, _ in numbers):
                yield name, of_map, float(np.mean([value for (key, _), value in numbers.items() if key == of_map]))
    yield from _gain(image, given)


def _engine(image: planted.Planted, maps: Mapping[Any, Any], metrics: Mapping[str, ModuleType]) -> Mapping[Any, Any]:
    imputers = {name: (registry.load("imputers", name), {}) for name in IMPUTERS}
    stored = {key: planted.stored(*pair) for key, pair in maps.items()}
    chosen = {name: (module, {}) for name, module in metrics.items()}
    how: dict[str, Any] = {"mean": MEAN, "image_ids": [image.name], "key": ("planted",), "chunk": 64}
    return run(image.model, image.image, stored, chosen, imputers, **how).of


def _faithfulness(image: planted.Planted, maps: Mapping[Any, Any]) -> dict[Name, dict[Any, float]]:
    found = _engine(image, maps, asked("faithfulness"))
    pairs = next(iter(found.values()))
    return {("faithfulness", *pair): {key: float(of[pair].value[0]) for key, of in found.items()} for pair in pairs}


def _gain(image: planted.Planted, given: Mapping[str, Any]) -> Iterator[tuple[Name, str, float]]:
    """Faith minus that of shuffled copies of the same map: of every map, the controls too."""
    faith = {"faith": registry.load("faithfulness", "faith")}
    copies = {
        (name, place): (copy, pair[1])
        for name, pair in given.items()
        for place, copy in enumerate(planted.copies(image, name, *pair))
    }
    found = _engine(image, {**{(name, -1): pair for name, pair in given.items()}, **copies}, faith)
    for imputer in IMPUTERS:
        level = {key: float(of["faith", imputer].value[0]) for key, of in found.items()}
        for name in given:
            shuffled = np.mean([level[name, place] for place in range(planted.COPIES)])
            yield ("faithfulness", GAIN, imputer), name, level[name, -1] - float(shuffled)


def _localization(image: planted.Planted, maps: Mapping[Any, Any]) -> dict[Name, dict[Any, float]]:
    found: dict[Name, dict[Any, float]] = {}
    metrics = {name: (module, {}) for name, module in asked("localization").items()}
    regions = {"evidence": Region(image.evidence.numpy()[None])}
    for key, (raw, grid) in maps.items():
        size = (planted.SIDE, planted.SIDE)
        of = localize(raw.numpy(), grid=grid, signed=False, size=size, regions=regions, metrics=metrics)
        for (metric, variant), result in of.items():
            found.setdefault(("localization", metric, variant), {})[key] = float(result.value[0])
    return found


def _agreement(image: planted.Planted) -> dict[Name, dict[Any, float]]:
    """Two models that read the same window, each with its own controls: what is drawn by chance is drawn twice."""
    both = [planted.maps(image, draw) for draw in (0, 1)]
    for place, maps in enumerate(both):
        maps[SHUFFLES] = planted.copies(image, planted.TRUE, *maps[planted.TRUE])[place], "input"
        maps["dense"] = planted.dense(image), "input"
    units = [{name: _unit(*pair) for name, pair in maps.items()} for maps in both]
    for bend, change in planted.BENDS.items():
        units[0][bend], units[1][bend] = _unit(change(planted.dense(image)), "input"), units[1]["dense"]
    return {
        ("agreement", metric, ""): {
            (name, 0): float(module.score(units[0][name], units[1][name]).value[0]) for name in units[0]
        }
        for metric, module in asked("agreement").items()
    }


def _unit(raw: torch.Tensor, grid: Any) -> NDArray[Any]:
    unit: NDArray[Any] = evaluate(raw.numpy(), grid=grid, signed=False, size=(planted.SIDE, planted.SIDE)).unit
    return unit


# the page
def page(found: Mapping[Name, Verdict]) -> str:
    """The whole of verdicts.md."""
    lines = [
        HEAD,
        *(_line(*pair, found) for pair in dict.fromkeys(name[:2] for name in found)),
        "",
        "Not asked here:",
        "",
    ]
    for family in FAMILIES:
        left = {name: why_not(family, registry.load(family, name)) for name in registry.names(family)}
        lines += [f"- `{name}`: {why}." for name, why in left.items() if why]
    return "\n".join(lines) + "\n"


def _line(family: str, metric: str, found: Mapping[Name, Verdict]) -> str:
    """A metric: the numbers of its first variant, and by what it is fooled in any."""
    own = {name[2]: verdict for name, verdict in found.items() if name[:2] == (family, metric)}
    battery = "masking" if metric == GAIN else _module(family, metric).METRIC.battery
    shown = FIRST.get(battery, next(iter(own)))
    first, fooled = own[shown], {name for verdict in own.values() for name in verdict.fooled_by}
    counts = {
        name: sum(name in verdict.fooled_by for verdict in own.values()) for name in first.levels if name in fooled
    }
    by = ", ".join(name + (f" ({count} of {len(own)})" if count < len(own) else "") for name, count in counts.items())
    case = CASES.get(metric) or registry.entry(family, metric).summary
    bends = "-" if np.isnan(first.bend) else "none" if first.bend < SAME else f"{first.bend:.2f}"
    numbers = f"{first.levels[planted.TRUE]:.2f} | {first.levels[first.rival]:.2f} ({first.rival})"
    return f"| {metric}{f' ({shown})' if shown else ''} | {first.better} | {numbers} | {by or '**none**'} | {bends} | {case} |"


if __name__ == "__main__":
    PAGE.write_text(page(verdicts()), encoding="utf-8")
