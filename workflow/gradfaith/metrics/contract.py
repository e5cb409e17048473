"""What a metric is: a file whose stem is its name, a `METRIC`, and `score` (for faithfulness also `changes`).

Localization, numpy:   score(on, **options) -> Values                on: maps in [0, 1] beside the region (metrics/maps/located.py),
                       or a mapping of variants to Values            zeros for a constant map, whose number is not read
Agreement, numpy:      ready(maps, **options) -> stack              what is kept of each map (m, h, w), once for all its pairs
                       score(first, second) -> Values               two such stacks, row by row
Faithfulness, torch:   changes(maps, **options) -> Iterator[Step]    which changed images the metric needs
                       score(base, after, **options) -> Values       how the model's answers become a number
  of battery "rerun"   its steps ask for maps of changed images or models: `base` and `after` are maps (metrics/maps/evaluate.py)
Composite, numpy:      score(parts) -> Values                        part -> its numbers (m,), where all of them are ok

A metric knows no model, no batch, no device and no file. Maps come in as `metrics/maps/evaluate.py` makes them. Constant maps get
the status "degenerate" from the runner, whatever a metric says of them. A value that the formula does not have is `undefined`; a value
that is not finite and not declared undefined is "failed". The options of a faithfulness metric are those of `changes`, and
both of its functions take them.

Evidence comes as one region of pixels: a mask as it is, a box filled, a point its one pixel, parts their union; a metric that is
`regional` is given them one by one. A metric of overlap is not served by a point, which has no extent; `evidence` says what it
can read, and a study that asks for more is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradfaith.vocabulary import EXTENDED, Evidence, Grid

Family = Literal["localization", "faithfulness", "agreement", "composite"]
Target = Literal["predicted", "true"]
Better = Literal["higher", "lower", "neither"]
Chance = Literal["", "0", "1", "1/2", "area"]  # "area": the region's share of the image

DECOY = 128  # the number of the first region that only looks like one

Model = Callable[[Any], Any]  # (n, c, h, w) in [0, 1] -> (n, k) logits
Chosen = Mapping[str, tuple[ModuleType, Mapping[str, Any]]]  # the study's label -> the file behind it and its options


@dataclass(frozen=True)
class Metric:
    """What is declared about a metric, and tested from the declaration."""

    family: Family
    target: Target  # the class whose map it reads
    bounds: tuple[float | None, float | None]  # None: unbounded on that side
    better: Better
    battery: str = ""  # faithfulness: its kind; a battery holds metrics of one kind, which share their changed images
    imputed: bool = True  # faithfulness: asks for images with pixels taken away, which an imputer fills
    parts: Mapping[str, str] = field(default_factory=dict)  # composite: metric -> its imputer; "": the composite's own
    region: str = "evidence"  # localization: the mask it reads; "": none
    evidence: tuple[Evidence, ...] = EXTENDED  # the kinds of evidence it can read
    grid: Grid = "input"  # agreement: reads maps evaluated at the image's size, or raw ones on their own grid
    variants: str = ""  # the option whose values name its variants
    regional: bool = (
        False  # faithfulness: takes the regions of an image away, one at a time (metrics/maps/regions_removed.py)
    )
    rival: bool = False  # faithfulness: reads the map of a second class of the image beside
    forwards: int = 0  # per map and imputer; of battery "rerun": runs of the method
    invariances: tuple[
        str, ...
    ] = ()  # "scale": raw map times k; "monotone": any increasing change; "flip": all mirrored
    fooled_by: tuple[str, ...] = ()  # controls that score well for no good reason
    chance: Chance = ""  # what a map of independent random pixels gets on average; "": no closed form
    controls: tuple[str, ...] = ()  # controls without which the number says little
    cite: str = ""
    differs: str = ""
    limits: tuple[str, ...] = ()  # what its options must keep: "0 < share < 1"


@dataclass(frozen=True)
class Imputer:
    """What is declared about a way of removing pixels: `fill(images, context, **options) -> (m, c, h, w)` in [0, 1]."""

    fill: str  # in words, for captions
    seeded: bool = False
    cite: str = ""
    limits: tuple[str, ...] = ()  # what its options must keep: "sigma > 0"


@dataclass(frozen=True)
class Stored:
    """One method's maps as a store holds them, with the image and the class that each explains."""

    raw: Any  # (m, h0, w0), signed, at their own size
    grid: Grid
    signed: bool
    image_of: Any  # (m,) row of the image each map belongs to
    target: Any  # (m,) class
    rival: Any = None  # (m, h0, w0) the map of another class of the same image; zeros where there is none
    against: Any = None  # (m,) that class


@dataclass(frozen=True)
class Maps:
    """The maps a faithfulness battery reads, evaluated at the images' size, on the device."""

    unit: Any  # (m, h, w) in [0, 1]
    draw: Callable[[str], Any]  # a purpose -> uniform numbers (m, h, w), the same for all maps of an image
    regions: Any = None  # (m, h, w) the number of the region that a pixel is of, 0: none; from DECOY on, decoys


@dataclass(frozen=True)
class Change:
    """One changed copy of every image: where `keep` is 1 the pixel stays, where it is 0 the imputer's takes its place."""

    name: str
    keep: Callable[[], Any]  # -> (m, h, w) in [0, 1], made when its turn comes
    of_image: bool = False  # the same for all maps of an image, so run once for all of them


@dataclass(frozen=True)
class Removal:
    """A share of the pixels taken in the map's order, exactly so many: the most relevant first, or the least."""

    order: Literal["most", "least"]
    share: float

    @property
    def name(self) -> str:
        """Nothing taken, or all, is one image whatever the order."""
        return NONE if self.share <= 0 else ALL if self.share >= 1 else f"{self.order} {self.share:.6g}"

    @property
    def of_image(self) -> bool:
        return self.name == ALL


NONE, ALL = "none", "all"
RERUN = "rerun"  # the battery whose metrics run the methods again
Trained = Literal["trained", "randomised"]


@dataclass(frozen=True)
class Again:
    """The method run again: on each map's own change of its image, on a shifted image, or on another model."""

    name: str
    keep: Callable[[], Any] | None = None  # -> (m, h, w) in [0, 1]: where it is 0 the imputer's pixel takes the place
    shift: Callable[[int], Any] | None = None  # channels -> (m, c, h, w), added to the image; the same for all methods
    model: Trained = "trained"

    @property
    def of_image(self) -> bool:
        return self.keep is None


@dataclass(frozen=True)
class Reruns:
    """Changed images, and the maps that are wanted of them; what a runner hands to an explainer."""

    images: Any  # (b, c, h, w)
    target: Any  # (b,) class
    image_ids: Sequence[str]  # (b,) of what each image is a change of
    changes: Sequence[str]  # (b,) names
    wanted: Mapping[Any, Any]  # whose map -> (w,) rows of the batch
    model: Trained


Explain = Callable[[Reruns], Mapping[Any, Any]]  # -> whose map -> (w, h0, w0), raw, not finite where there is none
Step = Change | Removal


@dataclass(frozen=True)
class Context:
    """What an imputer may know beside the images; a seeded one draws from (key, image id)."""

    keep: Any  # (m, h, w) in [0, 1]: what will stay
    mean: Any = None  # (c,) the dataset's mean, in [0, 1]
    image_ids: Sequence[str] = ()
    key: tuple[object, ...] = ()
    change: str = ""  # the name of the change: its noise is the same for all methods


@dataclass(frozen=True)
class Scores:
    """The model's answer for each map's target class."""

    logit: Any  # (m,)
    probability: Any  # (m,)
    mass: Any = None  # (m,) the share of the map's mass that was taken away
    area: Any = None  # (m,) the share of the image that was taken away
    rival: "Scores | None" = None  # the same for the other class and its map; its mass is NaN where there is none


@dataclass(frozen=True)
class Values:
    """One number per map; where `undefined` is true there is none, and `reason` says why."""

    value: Any  # (m,), numpy or torch
    undefined: Any = None  # (m,) bool, or None: all defined
    reason: Any = ""  # one for all, or (m,) numpy


@dataclass(frozen=True)
class Result:
    """What a runner gives for one metric: a number and its status per map, in the maps' order."""

    value: NDArray[np.float64]  # (m,), NaN unless ok
    status: NDArray[np.str_]  # (m,)
    reason: NDArray[np.str_]  # (m,), empty where ok

    def rows(self, rows: slice | NDArray[np.int64]) -> "Result":
        return Result(self.value[rows], self.status[rows], self.reason[rows])


def join(parts: Sequence[Result]) -> Result:
    """Results of several chunks, one after the other."""
    nothing = Result(np.zeros(0), np.zeros(0, dtype=np.str_), np.zeros(0, dtype=np.str_))
    columns = ([getattr(part, name) for part in (nothing, *parts)] for name in ("value", "status", "reason"))
    return Result(*map(np.concatenate, columns))


def settle(values: Values, degenerate: NDArray[np.bool_], broken: NDArray[np.bool_]) -> Result:
    """Numbers of the usable maps, put in their rows, and a status for every row; numpy only."""
    usable = ~(degenerate | broken)
    value, undefined = np.full(len(usable), np.nan), np.zeros(len(usable), dtype=bool)
    value[usable] = values.value
    undefined[usable] = False if values.undefined is None else values.undefined
    lost = usable & ~undefined & ~np.isfinite(value)
    cases = [broken, degenerate, undefined, lost]
    status = np.select(cases, ["failed", "degenerate", "undefined", "failed"], default="ok")
    reason = np.full(len(usable), "", dtype=object)
    reason[usable] = values.reason
    reason[~undefined] = ""
    reason[lost], reason[degenerate] = "the score is not a finite number", "the map is constant"
    reason[broken] = "the map is not finite"
    return Result(np.where(status == "ok", value, np.nan), status, reason.astype(np.str_))


def harmonic_mean(*terms: NDArray[np.float64]) -> NDArray[np.float64]:  # each (m,)
    """The harmonic mean; a term that is 0 or below makes it 0."""
    whole = np.stack(terms)
    lost = (whole <= 0).any(axis=0)
    mean: NDArray[np.float64] = np.where(lost, 0.0, len(terms) / (1 / np.where(lost, 1.0, whole)).sum(axis=0))
    return mean
