"""Compare the maps of two models image by image, and compute the chance level of that agreement: numpy only.

    reference       each seed with the lowest seed, except with itself
    pairs           all S (S - 1) / 2 pairs of seeds of an architecture
    architectures   all A (A - 1) / 2 pairs of architectures, seed by seed (scoring/across_architectures.py)
    ensemble        each model with the mean map of all others (metrics/runners/ensemble.py)
    between-images  chance level of each: an image's map in one model with the maps of other images in the other model,
                    same class, another group. One row per image: the mean over its `partners` (fewer if the class has
                    fewer), drawn from (key, image id), so they are the same for every pair, method and order

All models explain the true class. In "pairs" and "between-images" seed < seed2. In "reference" seed2 is the
reference; the metric always receives the lower seed first. Cost: m S (S - 1) / 2 (1 + partners) scores, 0.03 to
0.4 ms each at 224 x 224.

A metric compares maps on one of two grids:

    "input"     evaluated maps, at the image's size (metrics/maps/evaluate.py)
    "native"    raw maps with their sign, on their own grid or on the coarser grid of the other model

The form of a map that a metric compares (pixels above a threshold, ranks) is prepared once for all the models it is
compared with, a chunk of maps at a time. It is stored where the caller says: any image's map may be a partner of any
other's, so all must be available, but they need not fit into memory. A constant map is degenerate, and one that is not
finite is broken, on the grid where it is read: a signed map without a positive pixel is constant once evaluated, but
still has a ranking.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import BoundPlugin, BoundPlugins, Result, Values, assign_status
from gradfaith.metrics.maps.evaluate import Evaluated, evaluate
from gradfaith.metrics.maps.rank_correlation import GridShape, coarsest_shape, is_constant, regrid
from gradfaith.rng import generator
from gradfaith.vocabulary import BETWEEN_IMAGES, REFERENCE, SEED_PAIRS, Grid, Reading

CHUNK = 128  # maps at once


class Rows(Protocol):
    """An array that is written and read by rows: in memory, or in a file if it may be too large."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...

    def __setitem__(self, rows: Any, values: Any, /) -> None: ...


NewRows = Callable[[tuple[int, ...], Any], Rows]  # shape and type -> zeros


@dataclass(frozen=True)
class PreparedMaps:
    """A model's maps in the form that one metric compares, and which of them cannot be compared."""

    stack: Rows  # (k, ...), from the metric's `ready`
    place: NDArray[np.int64]  # (m,) index of each map in the stack
    degenerate: NDArray[np.bool_]  # (m,)
    broken: NDArray[np.bool_]  # (m,)
    absent: NDArray[np.bool_]  # (m,): there is no map

    @classmethod
    def from_chunks(cls, chunks: Iterable["PreparedChunk"], count: int, new_rows: NewRows) -> "PreparedMaps":
        """Gather all chunks of `count` maps; only one chunk is in memory at a time."""
        flags, stack, start = np.zeros((3, count), dtype=bool), new_rows((0,), np.float32), 0
        for chunk in chunks:
            if not start:
                stack = new_rows((count, *chunk.stack.shape[1:]), chunk.stack.dtype)
            some = slice(start, start + len(chunk.stack))
            stack[some] = chunk.stack
            flags[:, some] = chunk.degenerate, chunk.broken, chunk.absent
            start = some.stop
        return cls(stack, np.arange(count), *flags)

    @property
    def usable(self) -> NDArray[np.bool_]:
        return ~(self.degenerate | self.broken | self.absent)

    def select(self, rows: NDArray[np.int64]) -> "PreparedMaps":
        """Return some of the maps, without copying them."""
        return PreparedMaps(self.stack, self.place[rows], self.degenerate[rows], self.broken[rows], self.absent[rows])

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some maps into memory."""
        return self.stack[self.place[rows]]


class PreparedChunk(NamedTuple):
    """Some prepared maps of a model."""

    stack: NDArray[Any]  # (m, ...)
    degenerate: NDArray[np.bool_]  # (m,)
    broken: NDArray[np.bool_]  # (m,)
    absent: NDArray[np.bool_]  # (m,)


@dataclass(frozen=True, eq=False)
class ModelMaps:
    """One model's maps of one method, the images that they explain, and their prepared forms."""

    raw: Rows  # (m, h0, w0)
    grid: Grid
    signed: bool
    size: GridShape  # height and width of the images
    image_ids: Sequence[str]
    reading: Reading = "positive"  # the part that is read of signed maps
    new_rows: NewRows = np.zeros  # makes the storage of prepared maps
    prepared: dict[tuple[str, GridShape], PreparedMaps] = field(default_factory=dict)  # by metric and grid

    @property
    def shape(self) -> GridShape:
        return (self.raw.shape[1], self.raw.shape[2])

    def prepare(self, label: str, metric: BoundPlugin, shape: GridShape) -> PreparedMaps:
        """Return the maps in the form that a metric compares; `shape`: the grid for raw maps."""
        module, options = metric
        key = (label, shape if module.METRIC.grid == "native" else self.size)
        if key not in self.prepared:
            read = (
                self.read(module.METRIC.grid, shape, slice(start, start + CHUNK))
                for start in range(0, len(self.raw), CHUNK)
            )
            chunks = (
                PreparedChunk(module.ready(unit, **options), degenerate, broken, np.zeros(len(unit), dtype=bool))
                for unit, degenerate, broken in read
            )
            self.prepared[key] = PreparedMaps.from_chunks(chunks, len(self.raw), self.new_rows)
        return self.prepared[key]

    def read(self, grid: Grid, shape: GridShape, rows: slice) -> Evaluated:
        """Return some of the maps on the kind of grid that a metric declares; zeros if a map is not finite."""
        if grid == "input":
            return evaluate(self.raw[rows], grid=self.grid, signed=self.signed, size=self.size, reading=self.reading)
        raw = self.raw[rows]
        broken = ~np.isfinite(raw).all(axis=(1, 2))
        finite = np.where(broken[:, None, None], 0, raw)
        return Evaluated(regrid(finite, shape), is_constant(finite) & ~broken, broken)


PARTNERS = 8  # other images per image, for the chance level
NO_PARTNER = "no map of another image of its class, in another group, to compare with"


@dataclass(frozen=True)
class PairAgreement:
    """One metric on one pair of seeds: a result per image."""

    metric: str
    variant: str
    seed: int
    seed2: int
    result: Result


class MetricAgreement(NamedTuple):
    """One metric on two models, image by image: on the same image, and its chance level between images."""

    metric: str
    same_image: Result
    between_images: Result


@dataclass(frozen=True)
class ComparedImages:
    """The images on which models are compared."""

    image_ids: Sequence[str]
    groups: Sequence[str]
    labels: Sequence[Any]


def compare_seeds(
    models: Mapping[int, ModelMaps],
    images: ComparedImages,
    metrics: BoundPlugins,
    *,
    partners: int = PARTNERS,
    key: tuple[object, ...] = (),
) -> Iterator[PairAgreement]:
    """Compare every pair of seeds of one architecture with every metric, in three variants; `models`: by seed."""
    if len(models) < 2:
        raise StudyInvalid(
            problem=f"agreement needs models of at least two seeds, but there is only {list(models)}.",
            reason="Agreement compares the maps of different models.",
            fix="Set `seeds` to two or more seeds, or remove the agreement metrics from the study.",
        )
    return _compare_pairs(models, images, metrics, choose_partners(images, partners, key))


def _compare_pairs(
    models: Mapping[int, ModelMaps], images: ComparedImages, metrics: BoundPlugins, others: NDArray[np.int64]
) -> Iterator[PairAgreement]:
    lowest = min(models)
    for low, high in combinations(sorted(models), 2):
        for metric, same, between in compare_models(models[low], models[high], images, metrics, others):
            if low == lowest:
                yield PairAgreement(metric, REFERENCE, high, low, same)
            yield PairAgreement(metric, SEED_PAIRS, low, high, same)
            yield PairAgreement(metric, BETWEEN_IMAGES, low, high, between)


def compare_models(
    first: ModelMaps, second: ModelMaps, images: ComparedImages, metrics: BoundPlugins, others: NDArray[np.int64]
) -> Iterator[MetricAgreement]:
    """Compare two models on these images with every metric; `others` (m, partners) from `choose_partners`."""
    shape, rows = coarsest_shape((first.shape, second.shape)), [_rows_of(model, images) for model in (first, second)]
    for label, metric in metrics.items():
        one, two = (
            model.prepare(label, metric, shape).select(own) for model, own in zip((first, second), rows, strict=True)
        )
        yield MetricAgreement(
            label, score_same_images(one, two, metric), score_between_images(one, two, metric, others)
        )


def choose_partners(images: ComparedImages, partners: int, key: tuple[object, ...]) -> NDArray[np.int64]:
    """Draw the rows of each image's partners, (m, partners); -1 if the class has no more images in other groups."""
    ids, groups, labels = (np.asarray(column) for column in (images.image_ids, images.groups, images.labels))
    by_id = np.argsort(ids)
    chosen = np.full((len(ids), partners), -1, dtype=np.int64)
    for row, image_id in enumerate(images.image_ids):
        able = by_id[(labels[by_id] == labels[row]) & (groups[by_id] != groups[row])]
        drawn = generator(*key, BETWEEN_IMAGES, image_id).permutation(len(able))[:partners]
        chosen[row, : len(drawn)] = able[drawn]
    return chosen


def score_same_images(first: PreparedMaps, second: PreparedMaps, metric: BoundPlugin, *, reason: str = "") -> Result:
    """Score the maps of the same image, row by row; `reason`: why a map may be absent."""
    degenerate, broken = first.degenerate | second.degenerate, first.broken | second.broken
    absent = (first.absent | second.absent)[~(degenerate | broken)]
    rows = np.flatnonzero(first.usable & second.usable)
    scored = _score(first, rows, second, rows, metric)
    value, undefined = np.zeros(len(absent)), absent.copy()
    value[~absent], undefined[~absent] = scored.value, scored.undefined
    return assign_status(Values(value, undefined, np.where(absent, reason, scored.reason)), degenerate, broken)


def score_between_images(
    first: PreparedMaps, second: PreparedMaps, metric: BoundPlugin, others: NDArray[np.int64]
) -> Result:
    """Score each map with the maps of the image's partners: the mean over the partners with a score."""
    total, count = np.zeros(len(others)), np.zeros(len(others), dtype=np.int64)
    for partner in others.T:
        rows = np.flatnonzero((partner >= 0) & first.usable & second.usable[partner])
        values = _score(first, rows, second, partner[rows], metric)
        defined = ~np.asarray(values.undefined)
        total[rows[defined]] += values.value[defined]
        count[rows[defined]] += 1
    usable = ~(first.degenerate | first.broken)
    values = Values(total[usable] / np.maximum(count[usable], 1), undefined=count[usable] == 0, reason=NO_PARTNER)
    return assign_status(values, first.degenerate, first.broken)


def _score(
    first: PreparedMaps, rows: NDArray[np.int64], second: PreparedMaps, rows2: NDArray[np.int64], metric: BoundPlugin
) -> Values:
    """Run the metric row by row, one chunk in memory at a time; `undefined` is always an array here."""
    module, _ = metric
    value, undefined, reason = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool), ""
    for start in range(0, len(value), CHUNK):
        some = slice(start, start + CHUNK)
        part = module.score(first.read(rows[some]), second.read(rows2[some]))
        value[some] = part.value
        undefined[some] = False if part.undefined is None else part.undefined
        reason = part.reason or reason
    return Values(value, undefined, reason)


def _rows_of(model: ModelMaps, images: ComparedImages) -> NDArray[np.int64]:
    """Return the model's row of each image."""
    row = {image: place for place, image in enumerate(model.image_ids)}
    return np.array([row[image] for image in images.image_ids], dtype=np.int64)
