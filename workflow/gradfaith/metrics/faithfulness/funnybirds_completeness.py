"""FunnyBirds completeness: whether the parts that the map marks are those that decide, and no others.

    important at t   the part's share of the map is above t                                                     [hesse2023]
    CSDC   the largest share of a minimal set of parts that names the class which is important
    PC     1 if the answer stays when all parts that are not important are removed
    DC     1 if the answer changes when the important parts are removed
    D      1 - share of the irrelevant parts and things that are important;
           irrelevant: removal lowers the logit by less than IRRELEVANT of it, or raises it
    value  = ( (CSDC + PC + DC) / 3 + D ) / 2

`threshold` is t. The published score takes the best of THRESHOLDS, chosen on the images that are then measured; this favours
methods with many different values. The default 0 is the mean over all of them: nothing is chosen. The images are the dataset's
own, rendered again, so no imputer plays a role. The map is that of the true class.

The value is per image, so it needs all terms: it is undefined for misclassified images, whose important parts explain another
answer, and where no part is irrelevant. In the published code these images count in some terms. A map of ones has a part's area
as its importance: read the value beside the control `uniform`. Cost: 2^parts + things forwards per image, for any number of methods.
"""

from collections.abc import Iterator, Mapping
from functools import reduce

import torch
from torch import Tensor

from gradfaith.metrics.contract import BatteryMaps, Metric, PartRemoval, Scores, Values
from gradfaith.metrics.maps import removals, renders

METRIC = Metric(
    family="faithfulness",
    target="true",
    bounds=(0, 1),
    better="higher",
    battery="rendered",
    imputed=False,
    forwards=34,
    invariances=("scale",),
    cite="hesse2023",
    differs="mean over all thresholds, not the best one chosen on the same images; correctly classified images only",
    limits=("0 <= threshold < 1",),
)
THRESHOLDS = torch.linspace(0.01, 0.50, 80, dtype=torch.float64)
IRRELEVANT = 0.05
WRONG = "the model's answer is not the image's class"
ALL_MATTER = "every part and thing matters to the model"


def changes(maps: BatteryMaps, *, threshold: float = 0.0) -> Iterator[PartRemoval]:  # noqa: ARG001 - both take all options
    yield from renders.every_removal(maps)


def score(base: Scores, after: Mapping[str, Scores], *, threshold: float = 0.0) -> Values:
    effects = renders.PartEffects(base, after)
    if not effects.parts:
        return Values(base.logit.double() * 0, undefined=torch.ones_like(base.top), reason=renders.NO_RENDERS)
    levels = (THRESHOLDS if threshold == 0 else torch.tensor([threshold])).to(base.logit.device)
    important = effects.importance(effects.parts) > levels[:, None, None]  # (t, k, m)
    sets, there = _Sets(effects), effects.known([(part,) for part in effects.parts]).all(dim=0)
    terms = (sets.covered(important) + sets.preserved(important) + sets.deleted(important)) / 3
    spared, none = _spared(effects, important, levels)
    wrong = ~base.top
    reason = removals.first_reason([(~there, renders.NO_RENDERS), (wrong, WRONG), (none, ALL_MATTER)])
    return Values((terms + spared).mean(dim=0) / 2, undefined=~there | wrong | none, reason=reason)


class _Sets:
    """Sets of the object's parts as numbers: bit i is part i of the list."""

    def __init__(self, effects: renders.PartEffects) -> None:
        parts, base = effects.parts, effects.base
        self.full = 2 ** len(parts) - 1
        removed = [tuple(part for bit, part in enumerate(parts) if code >> bit & 1) for code in range(self.full + 1)]
        self.kept_answer = torch.stack([effects.by_set[one].top if one else base.top for one in removed]).double()
        names_class = [effects.by_set[one].render.sufficient if one else torch.ones_like(base.top) for one in removed]  # type: ignore[union-attr]
        self.enough = torch.stack([names_class[self.full - kept] for kept in range(self.full + 1)])  # by what is kept
        self.size = torch.tensor([code.bit_count() for code in range(self.full + 1)], device=base.logit.device)

    def covered(self, important: Tensor) -> Tensor:  # (t, k, m) -> (t, m)
        """Return the largest share of a minimal sufficient set that is important."""
        code, best = (
            self._code(important),
            torch.zeros(important.shape[::2], dtype=torch.float64, device=important.device),
        )
        for kept in range(1, self.full + 1):
            smaller = [self.enough[kept & ~(1 << bit)] for bit in range(self.full.bit_length()) if kept >> bit & 1]
            minimal = self.enough[kept] & ~reduce(torch.logical_or, smaller)
            best = best.maximum(self.size[code & kept] / kept.bit_count() * minimal)
        return best

    def preserved(self, important: Tensor) -> Tensor:  # (t, m)
        """Return 1 where the answer stays without all other parts."""
        return self.kept_answer.gather(0, self.full - self._code(important))

    def deleted(self, important: Tensor) -> Tensor:  # (t, m)
        """Return 1 where the answer changes without the important parts."""
        return 1 - self.kept_answer.gather(0, self._code(important))

    def _code(self, important: Tensor) -> Tensor:  # (t, k, m) -> (t, m)
        bits = 2 ** torch.arange(important.shape[1], device=important.device)
        return (important * bits[:, None]).sum(dim=1)


def _spared(effects: renders.PartEffects, important: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:  # (t, m), (m,)
    """Return the share of irrelevant parts and things that are not important, and where nothing is irrelevant."""
    singles = [(number,) for number in (*effects.parts, *effects.things)]
    drop, known = effects.drop(singles), effects.known(singles)
    irrelevant = known & (drop < IRRELEVANT * effects.base.logit.double().abs())
    marked = torch.cat([important, effects.importance(effects.things) > levels[:, None, None]], dim=1)
    count = irrelevant.sum(dim=0)
    return 1 - (marked & irrelevant).sum(dim=1) / count.clamp(min=1), count == 0
