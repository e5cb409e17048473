"""Define the contract of metrics: the declaration of a metric file, its inputs and its result.

A metric is one file. Its stem is the metric's name. It contains `METRIC` and `score`; a faithfulness metric also
contains `changes`.

Localization, numpy:   score(located, **options) -> Values           located: maps in [0, 1] and the region (maps/located.py),
                       or a mapping of variants to Values            zeros for a constant map, whose value is ignored
Agreement, numpy:      ready(maps, **options) -> stack               the compared form of each map (m, h, w), made once per map
                       score(first, second) -> Values                two such stacks, row by row
Faithfulness, torch:   changes(maps, **options) -> Iterator[ImageChange]   the modified images that the metric needs
                       score(base, after, **options) -> Values       from the model's scores of the images before and after
  of battery "rendered" changes(...) -> Iterator[PartRemoval]: the dataset's own images without parts of the object
  of battery "rerun"   changes(...) -> Iterator[MethodRerun]; `base` and `after` are maps (RerunMaps in maps/evaluate.py)
Composite, numpy:      score(parts) -> Values                        part -> its values (m,), if all of them are ok

A metric has no access to the model, the batch, the device or files. It receives maps as `maps/evaluate.py` makes them.
The runner gives constant maps the status "degenerate", whatever the metric returns for them. If the formula has no
value, the metric marks it `undefined`. A value that is not finite and not marked undefined is "failed". The options of
a faithfulness metric are those of `changes`; both of its functions receive them.

Evidence is one region of pixels: a mask unchanged, a box filled, a point as its one pixel, parts as their union. A
`regional` metric receives the parts one by one. A metric of overlap cannot use a point, which has no extent: `evidence`
lists the kinds that a metric can read, and a study with another kind is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gradfaith.vocabulary import EXTENDED, Evidence, Grid, Reading

Family = Literal["localization", "faithfulness", "agreement", "composite"]
Target = Literal["predicted", "true"]
Better = Literal["higher", "lower", "neither"]
Chance = Literal["", "0", "1", "1/2", "area"]  # "area": the region's share of the image

FIRST_DECOY = 128  # regions from this number on are decoys: they have the evidence's shape and contain no evidence

PartSet = tuple[int, ...]  # numbers of parts, in order
ImagesToLogits = Callable[[Any], Any]  # (n, c, h, w) in [0, 1] -> (n, k) logits
BoundPlugin = tuple[
    ModuleType, Mapping[str, Any]
]  # the module of a metric or an imputer, and the study's options for it
BoundPlugins = Mapping[str, BoundPlugin]  # by the study's label


@dataclass(frozen=True)
class Metric:
    """The declaration of a metric; the contract tests check every declaration."""

    family: Family
    target: Target  # the class whose map it reads
    bounds: tuple[float | None, float | None]  # None: unbounded on that side
    better: Better
    battery: str = ""  # faithfulness: its kind; metrics of one battery have one kind, and share modified images
    imputed: bool = True  # faithfulness: needs images whose removed pixels an imputer fills
    parts: Mapping[str, str] = field(default_factory=dict)  # composite: metric -> its imputer; "": the composite's own
    region: str = "evidence"  # localization: the mask that the metric reads; "": none
    evidence: tuple[Evidence, ...] = EXTENDED  # the kinds of evidence that the metric can read
    grid: Grid = "input"  # agreement: reads maps evaluated at the image's size, or raw maps on their own grid
    variants: str = ""  # the option whose values name its variants
    regional: bool = False  # faithfulness: removes the regions of an image, one at a time (metrics/maps/removals.py)
    rival: bool = False  # faithfulness: also reads the map of a second class of the image
    contrast: bool = (
        False  # faithfulness: the two maps are those of the image's contrast classes, not of its own classes
    )
    forwards: int = 0  # per map and imputer; of battery "rerun": runs of the method
    truth: bool = False  # composite: may stand for the truth in `meta:`, as localization metrics do
    own_scale: bool = False  # on each network's own scale, so it is not compared across architectures
    invariances: tuple[str, ...] = ()  # "scale": map times k; "monotone": any increasing function; "flip": all mirrored
    fooled_by: tuple[str, ...] = ()  # controls that score well without evidence
    chance: Chance = ""  # the average value of a map of independent random pixels; "": no closed form
    controls: tuple[str, ...] = ()  # controls that are needed to interpret the value
    cite: str = ""
    differs: str = ""
    limits: tuple[str, ...] = ()  # what its options must keep: "0 < share < 1"


@dataclass(frozen=True)
class Imputer:
    """The declaration of an imputer; its file contains `fill(images, context, **options) -> (m, c, h, w)` in [0, 1]."""

    fill: str  # as text, for captions
    seeded: bool = False
    cite: str = ""
    limits: tuple[str, ...] = ()  # conditions on its options: "sigma > 0"


@dataclass(frozen=True)
class MethodMaps:
    """One method's stored maps, with the image and the class that each map explains.

    `raw` and `rival` may be arrays, or objects that read rows from a file when indexed.
    """

    raw: Any  # (m, h0, w0), signed, at their own size
    grid: Grid
    signed: bool
    image_of: Any  # (m,) row of each map's image
    target: Any  # (m,) class
    rival: Any = None  # (m, h0, w0) the map of another class of the same image; zeros if there is none
    against: Any = None  # (m,) that class
    reading: Reading = "positive"  # the part that is read of signed maps


@dataclass(frozen=True)
class BatteryMaps:
    """The maps that a faithfulness metric receives in `changes`: evaluated at the images' size, on the device."""

    unit: Any  # (m, h, w) in [0, 1]
    draw: Callable[[str], Any]  # a purpose -> uniform random numbers (m, h, w), the same for all maps of an image
    regions: Any = None  # (m, h, w) the region number of each pixel; 0: no region; from FIRST_DECOY on: decoys
    part_sets: Sequence[PartSet] = ()  # battery "rendered": the sets of parts without which the dataset has images


@dataclass(frozen=True)
class MaskedChange:
    """One modified copy of every image: a pixel stays where `keep` is 1, and the imputer replaces it where `keep` is 0."""

    name: str
    keep: Callable[[], Any]  # -> (m, h, w) in [0, 1], computed when its batch is built
    per_image: bool = False  # the same for all maps of an image, so it runs once for all of them


@dataclass(frozen=True)
class RankedRemoval:
    """Remove exactly this share of the pixels in the map's order: most relevant first, or least relevant first."""

    order: Literal["most", "least"]
    share: float

    @property
    def name(self) -> str:
        """Return a name. Removing no pixel, or all, gives the same image in both orders, so the name is the same."""
        return (
            NOTHING_REMOVED if self.share <= 0 else ALL_REMOVED if self.share >= 1 else f"{self.order} {self.share:.6g}"
        )


@dataclass(frozen=True)
class PartRemoval:
    """The dataset's own image without these parts; no imputer fills anything."""

    parts: PartSet
    per_image: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"{WITHOUT_PARTS}{' '.join(map(str, self.parts))}"

    @classmethod
    def parts_of(cls, name: str) -> PartSet:
        """Return the parts of a removal of this name."""
        return tuple(map(int, name.removeprefix(WITHOUT_PARTS).split()))


WITHOUT_PARTS = "without parts "
NOTHING_REMOVED = "none"
ALL_REMOVED = "all"
ImageChange = MaskedChange | RankedRemoval | PartRemoval
WeightState = Literal["trained", "randomised"]


@dataclass(frozen=True)
class MethodRerun:
    """One rerun of the method: on each map's own modified image, on a shifted image, or on another model."""

    name: str
    keep: Callable[[], Any] | None = None  # -> (m, h, w) in [0, 1]: the imputer replaces the pixel where it is 0
    shift: Callable[[int], Any] | None = None  # channels -> (m, c, h, w), added to the image; the same for all methods
    model: WeightState = "trained"

    @property
    def per_image(self) -> bool:
        return self.keep is None


@dataclass(frozen=True)
class RerunBatch:
    """A batch of modified images for an explainer, and the methods whose maps the runner requests of each."""

    images: Any  # (b, c, h, w)
    target: Any  # (b,) class
    image_ids: Sequence[str]  # (b,) of the unchanged images
    changes: Sequence[str]  # (b,) names of the changes
    wanted: Mapping[Any, Any]  # method -> (w,) rows of the batch
    model: WeightState


ExplainFunction = Callable[
    [RerunBatch], Mapping[Any, Any]
]  # -> method -> (w, h0, w0), raw, not finite if there is no map


@dataclass(frozen=True)
class Context:
    """The inputs of an imputer beside the images; a seeded imputer draws from (key, image id)."""

    keep: Any  # (m, h, w) in [0, 1]: 1 where the pixel stays
    mean: Any = None  # (c,) mean of the training images, in [0, 1]
    image_ids: Sequence[str] = ()
    key: tuple[object, ...] = ()  # of the random stream
    change: str = ""  # the name of the change: its noise is the same for all methods


@dataclass(frozen=True)
class Scores:
    """The model's output for each map's target class, and the amount that a change removed.

    Removals in the map's order have no mass and no area: their share is the area, and no metric reads the mass.
    """

    logit: Any  # (m,)
    probability: Any  # (m,)
    mass: Any = None  # (m,) the share of the map's mass that the change removed
    area: Any = None  # (m,) the share of the image that the change removed
    rival: "Scores | None" = None  # the same for the other class and its map; its mass is NaN if there is none
    calibrated: Any = None  # (m,) the probability at the model's temperature
    top: Any = None  # (m,) bool: the class is the model's answer
    render: "RenderFacts | None" = None  # of a PartRemoval


@dataclass(frozen=True)
class RenderFacts:
    """What the dataset says of one PartRemoval, map by map; where there is no such image, the model's output is that before."""

    known: Any  # (m,) bool: there is such an image
    sufficient: Any  # (m,) bool: the parts that are left name the image's class
    shared: (
        Any  # (m,) 1: exactly what the first contrast class shares with the image's class was removed; 2: the second; 0
    )


@dataclass(frozen=True)
class Values:
    """The result of a metric: one value per map. If `undefined` is true there is no value, and `reason` states why."""

    value: Any  # (m,), numpy or torch
    undefined: Any = None  # (m,) bool, or None: all defined
    reason: Any = ""  # one for all, or (m,) numpy


@dataclass(frozen=True)
class Result:
    """The result of a runner for one metric: a value and its status per map, in the maps' order."""

    value: NDArray[np.float64]  # (m,), NaN unless ok
    status: NDArray[np.str_]  # (m,)
    reason: NDArray[np.str_]  # (m,), empty where ok

    def select(self, rows: slice | NDArray[np.int64]) -> "Result":
        """Return the result of some of the maps."""
        return Result(self.value[rows], self.status[rows], self.reason[rows])


def concatenate_results(parts: Sequence[Result]) -> Result:
    """Concatenate the results of several chunks of maps."""
    nothing = Result(np.zeros(0), np.zeros(0, dtype=np.str_), np.zeros(0, dtype=np.str_))
    columns = ([getattr(part, name) for part in (nothing, *parts)] for name in ("value", "status", "reason"))
    return Result(*map(np.concatenate, columns))


def assign_status(values: Values, degenerate: NDArray[np.bool_], broken: NDArray[np.bool_]) -> Result:
    """Return a value and a status for every map; numpy only.

    `values`: of the usable maps only, in their order. `degenerate` (m,): constant maps; `broken` (m,): maps not finite.
    """
    usable = ~(degenerate | broken)
    value, undefined = np.full(len(usable), np.nan), np.zeros(len(usable), dtype=bool)
    value[usable] = values.value
    undefined[usable] = False if values.undefined is None else values.undefined
    failed = usable & ~undefined & ~np.isfinite(value)
    cases = [broken, degenerate, undefined, failed]
    status = np.select(cases, ["failed", "degenerate", "undefined", "failed"], default="ok")
    reason = np.full(len(usable), "", dtype=object)
    reason[usable] = values.reason
    reason[~undefined] = ""
    reason[failed], reason[degenerate] = "the score is not a finite number", "the map is constant"
    reason[broken] = "the map is not finite"
    return Result(np.where(status == "ok", value, np.nan), status, reason.astype(np.str_))


def harmonic_mean(*terms: NDArray[np.float64]) -> NDArray[np.float64]:  # each (m,)
    """Return the harmonic mean, map by map; a term that is 0 or below makes it 0."""
    stacked = np.stack(terms)
    zero = (stacked <= 0).any(axis=0)
    mean: NDArray[np.float64] = np.where(zero, 0.0, len(terms) / (1 / np.where(zero, 1.0, stacked)).sum(axis=0))
    return mean
