"""Put scores side by side: for each metric a table with a row per image and model, and a column per method.

`scores_by_image` makes one table per metric and variant, for the meta-evaluation. `ContextScores` is the table of one
context (an architecture, target, metric and variant), for paired comparisons; its layers have a column each. Scores are
read part by part, in any division: of each score only its place and its number are kept, about 16 bytes. Rows and columns
are in the order in which the scores name them.
`MetricSideBySide` is the table of one metric on all architectures, with a row per image and run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from gradfaith.errors import NoComparableScores, name_some
from gradfaith.stats.estimates import SIGN_OF_BETTER, MetricVariant, check_scores, fill_empty_cells, join_parts
from gradfaith.stats.interval_scales import Bounds, IntervalRule
from gradfaith.stats.intervals import SEED_COLUMNS, combination_codes, intervals_by_cell
from gradfaith.stats.spread import CodeArray, FlagArray, FloatArray
from gradfaith.vocabulary import CHANCE_VARIANTS, COMMON_GRID, REFERENCE, SHUFFLED

UNIT_COLUMNS, METHOD_COLUMNS = ("arch", "seed", "image_id"), ("method", "layer")
CONTEXT_KEYS = ("arch", "arch2", "target", "metric", "variant")


@dataclass(frozen=True)
class ScoresByImage:
    """Scores side by side: for each metric and variant a table with a row per unit and a column per method.

    A unit is an image and a model. All tables have the same rows and columns, and the higher number is always better.
    Of the copies of a map only the first takes part. A method with several layers has a column for each.
    """

    units: pd.DataFrame  # (units): arch, seed, image_id, group, correct
    methods: Sequence[str]  # of the columns
    values: Mapping[MetricVariant, FloatArray]  # (units, methods); NaN: no value
    has_score: Mapping[MetricVariant, FlagArray]  # (units, methods): there is a score, whatever its status

    def first_variant(self, metric: str) -> MetricVariant:
        """Return the first variant of a metric."""
        for name in self.values:
            if name[0] == metric:
                return name
        raise NoComparableScores(
            problem=f"{metric!r} has no scores that metrics can be compared with; "
            f"there are scores of {name_some(sorted({name for name, _ in self.values})) or 'no metric'}.",
            reason="Metrics are compared by their scores of one model's maps of test images. A metric without a better direction "
            "cannot be compared.",
            fix="Under `meta` of the study, name another metric as `truth` or `against`, or add this one to the study's metrics.",
        )

    def select(self, mask: FlagArray) -> "ScoresByImage":  # (units)
        """Return the tables of some units only."""
        units = self.units[mask].reset_index(drop=True)
        values = {name: table[mask] for name, table in self.values.items()}
        has_score = {name: table[mask] for name, table in self.has_score.items()}
        return ScoresByImage(units, self.methods, values, has_score)

    def is_control(self, controls: Sequence[str]) -> FlagArray:  # (methods)
        """Tell which columns are controls or shuffled maps."""
        return np.array([name in controls or name.startswith(SHUFFLED) for name in self.methods], dtype=bool)


def scores_by_image(parts: Iterable[pd.DataFrame], better: Mapping[str, str]) -> ScoresByImage:
    """Pivot scores of single models. `better`: metric -> higher, lower or neither; those with neither are left out."""
    units = Numbering(UNIT_COLUMNS, kept=(*UNIT_COLUMNS, "group", "correct"))
    columns = Numbering(METHOD_COLUMNS, kept=("method",))
    found: dict[MetricVariant, list[tuple[CodeArray, CodeArray, FloatArray]]] = {}
    for scores in parts:
        check_scores(scores)
        selected = scores["metric"].map(better).isin(SIGN_OF_BETTER) & (scores["copy"] == 0)
        rows = scores[selected].reset_index(drop=True)
        unit, column = units.codes(rows), columns.codes(rows)
        sign = rows["metric"].map(better).map(SIGN_OF_BETTER).to_numpy(np.float64)
        number = np.where(rows["status"].to_numpy() == "ok", sign * rows["value"].to_numpy(np.float64), np.nan)
        for (metric, variant), part in rows.groupby(["metric", "variant"], sort=False, observed=True):
            at = part.index.to_numpy()
            found.setdefault((str(metric), str(variant)), []).append((unit[at], column[at], number[at]))
    values, has_score = {}, {}
    for name in list(found):
        unit, column, number = (np.concatenate(own) for own in zip(*found.pop(name), strict=True))
        values[name] = np.full((len(units.rows), len(columns.rows)), np.nan)
        has_score[name] = np.zeros(values[name].shape, dtype=bool)
        values[name][unit, column], has_score[name][unit, column] = number, True
    table = pd.DataFrame(units.rows, columns=list(units.kept)).astype(UNIT_TYPES)
    return ScoresByImage(table, [str(name) for (name,) in columns.rows], values, has_score)


UNIT_TYPES = {"arch": "category", "image_id": "category", "group": "category", "correct": "boolean"}


@dataclass
class Numbering:
    """Number the distinct combinations of some columns of many tables, from 0, in order of appearance."""

    columns: Sequence[str]
    kept: Sequence[str]  # the columns of `rows`
    rows: list[tuple[object, ...]] = field(default_factory=list)  # of the first row of each combination
    codes_by_key: dict[tuple[object, ...], int] = field(default_factory=dict)

    def codes(self, table: pd.DataFrame) -> CodeArray:
        """Return the number of each row of a table."""
        code = combination_codes(table, self.columns)
        first = table.iloc[np.unique(code, return_index=True)[1]]
        keys = list(first[list(self.columns)].itertuples(index=False, name=None))
        for key, row in zip(keys, first[list(self.kept)].itertuples(index=False, name=None), strict=True):
            if key not in self.codes_by_key:
                self.codes_by_key[key] = len(self.rows)
                self.rows.append(row)
        return np.array([self.codes_by_key[key] for key in keys], dtype=np.int64)[code]


@dataclass(frozen=True)
class ContextScores:
    """The scores of one context: a row per image and run, a column per method and layer; copies of a map are averaged."""

    context: tuple[str, ...]  # the values of CONTEXT_KEYS
    unit: CodeArray  # (n): the number of each row's image and run, rising
    columns: Sequence[tuple[str, str]]  # (c): method and layer
    first_row: CodeArray  # (c): the place of the column's first score among all scores
    values: FloatArray  # (n, c); NaN: no value
    has_score: FlagArray  # (n, c): there is a score, whatever its status

    def layers_of(self, method: str) -> list[int]:
        """Return the columns of a method."""
        return [place for place, (name, _) in enumerate(self.columns) if name == method]

    def over_layers(self, method: str) -> tuple[FloatArray, FlagArray]:  # (n), (n)
        """Return a method's values, averaged over its layers, and where it has a score."""
        at = self.layers_of(method)
        if len(at) == 1:
            return self.values[:, at[0]], self.has_score[:, at[0]]
        values = self.values[:, at]
        n = np.isfinite(values).sum(axis=1)
        means = np.where(n > 0, np.nansum(values, axis=1) / np.maximum(n, 1), np.nan)
        return means, np.asarray(self.has_score[:, at].any(axis=1))

    def at_layer(self, method: str, layer: str) -> FloatArray:  # (n)
        """Return a method's values at a layer; where it has no score there, those averaged over its layers."""
        means, _ = self.over_layers(method)
        if (method, layer) not in self.columns:
            return means
        place = self.columns.index((method, layer))
        return np.where(self.has_score[:, place], self.values[:, place], means)


def unit_numbering() -> Numbering:
    """Return a numbering of images and runs, for the contexts of one table of scores."""
    return Numbering(("seed", "seed2", "image_id"), kept=("seed", "seed2", "image_id", "group", "label"))


def scores_by_context(scores: pd.DataFrame, units: Numbering) -> list[ContextScores]:
    """Return the contexts of some scores; `units` numbers images and runs alike for all parts of a table."""
    check_scores(scores)
    seeds, seeds2 = (scores[name].astype("str").where(scores[name].notna(), "") for name in ("seed", "seed2"))
    rows = scores.assign(seed=seeds, seed2=seeds2, label=scores.get("label", ""))
    unit, context = units.codes(rows), combination_codes(rows, CONTEXT_KEYS)
    value = np.where(rows["status"].to_numpy() == "ok", rows["value"].to_numpy(np.float64), np.nan)
    order = np.argsort(context, kind="stable")
    found = []
    for at in np.split(order, np.cumsum(np.bincount(context))[:-1]) if len(rows) else []:
        own = rows.iloc[at]
        column = combination_codes(own, METHOD_COLUMNS)
        first = np.unique(column, return_index=True)[1]
        names = [(str(method), str(layer)) for method, layer in own.iloc[first][list(METHOD_COLUMNS)].to_numpy()]
        numbers, row = np.unique(unit[at], return_inverse=True)
        table = pivot(row.astype(np.int64), column, value[at], (len(numbers), len(names)))
        context_names = tuple(str(own[name].iloc[0]) for name in CONTEXT_KEYS)
        found.append(ContextScores(context_names, numbers, names, own.index.to_numpy()[first], *table))
    return found


def pivot(row: CodeArray, column: CodeArray, value: FloatArray, shape: tuple[int, int]) -> tuple[FloatArray, FlagArray]:
    """Return the mean value of every row and column, and whether it has any entry, finite or not."""
    flat, size, ok = row * shape[1] + column, shape[0] * shape[1], np.isfinite(value)
    n = np.bincount(flat[ok], minlength=size)
    with np.errstate(invalid="ignore"):
        means = np.bincount(flat[ok], value[ok], size) / n
    return means.reshape(shape), (np.bincount(flat, minlength=size) > 0).reshape(shape)


ROW_COLUMNS = ("seed", "seed2", "image_id", "group", "label")


@dataclass(frozen=True)
class MetricSideBySide:
    """The scores of a metric: a row per image and run, a column per architecture, method, layer and variant."""

    rows: pd.DataFrame  # ROW_COLUMNS
    columns: pd.DataFrame  # arch, method, layer, variant
    values: FloatArray  # (rows, columns), copies averaged; NaN: no value
    wrong: Mapping[str, FlagArray]  # architecture -> (rows): its model classifies the image wrongly

    @classmethod
    def of(cls, scores: pd.DataFrame) -> "MetricSideBySide":
        own = scores["arch2"].astype("str").isin([""]) | (scores["arch2"].astype("str") == scores["arch"].astype("str"))
        scores = scores[own].reset_index(drop=True)
        row = combination_codes(scores, [*SEED_COLUMNS, "image_id"])
        names = ["arch", "method", "layer", "variant"]
        column = combination_codes(scores, names)
        shape = int(row.max(initial=-1)) + 1, int(column.max(initial=-1)) + 1
        value = np.where(scores["status"].to_numpy() == "ok", scores["value"].to_numpy(np.float64), np.nan)
        values, _ = pivot(row, column, value, shape)
        units = scores.iloc[np.unique(row, return_index=True)[1]][list(ROW_COLUMNS)].reset_index(drop=True)
        correct = scores["correct"].fillna(False).to_numpy(bool)
        archs = scores["arch"].astype("str").to_numpy()
        wrong = {arch: np.bincount(row, (archs == arch) & ~correct, shape[0]) > 0 for arch in dict.fromkeys(archs)}
        columns = scores.iloc[np.unique(column, return_index=True)[1]][names].astype("str").reset_index(drop=True)
        return cls(units, columns, values, wrong)

    @cached_property
    def variants(self) -> list[str]:
        """The variants that are scores of a method, the primary one first."""
        left_out = (*CHANCE_VARIANTS, REFERENCE)
        names = [name for name in dict.fromkeys(self.columns["variant"]) if name not in left_out]
        return [name for name in names if not name.startswith(COMMON_GRID)]

    def asked(self, variant: str, *, across: bool) -> list[str]:
        """Return the variants that a test names; `across` architectures those on a common grid, if there are such."""
        if variant not in ("all", "each", "first"):
            return [variant]
        common = [name for name in dict.fromkeys(self.columns["variant"]) if name.startswith(COMMON_GRID)]
        names = common if across and common else self.variants
        return names[:1] if variant == "first" else names

    def of_method(self, arch: str, method: str, variant: str, layers: Sequence[str]) -> FloatArray:
        """Return the values of a method on an architecture; of a control, those at one of `layers` if it has such."""
        own = self.columns
        for name, value in {"arch": arch, "method": method, "variant": variant}.items():
            own = own[own[name] == value]
        own = own[own["layer"].isin(layers)] if own["layer"].isin(layers).any() else own
        values = self.values[:, own.index]
        count = np.isfinite(values).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.nansum(values, axis=1) / count)

    def layers(self, arch: str, method: str) -> list[str]:
        """Return the layers of a method on an architecture."""
        own = self.columns[(self.columns["arch"] == arch) & (self.columns["method"] == method)]
        return list(dict.fromkeys(own["layer"]))


def _average_over_architectures(images: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Average over architectures by image and seed, so that none dominates; an image missing in one of them has no value."""
    other = [key for key in keys if key != "arch"]
    archs = images.groupby(other, sort=False, observed=True)["arch"].transform("nunique")
    cells = images.assign(archs=archs).groupby([*other, "seed", "image_id", "group"], sort=False, observed=True)
    means = cells.agg(
        value=("value", "mean"), present=("value", "count"), archs=("archs", "max"), n_methods=("n_methods", "max")
    ).reset_index()
    return means.assign(value=means["value"].where(means["present"] == means["archs"]), arch="")


def _estimate_means(
    images: pd.DataFrame, keys: Sequence[str], reason: str, rule: IntervalRule, bounds: Mapping[str, Bounds]
) -> pd.DataFrame:
    by = list(keys)
    cells = images.assign(n_undefined=images["value"].isna()).groupby(by, sort=False, observed=True)
    counts = cells.agg(n_undefined=("n_undefined", "sum"), n_methods=("n_methods", "max")).reset_index()
    intervals = intervals_by_cell(images[images["value"].notna()], by, rule, bounds, "measure")
    table = counts.merge(intervals, on=by, how="left")
    return fill_empty_cells(table).fillna({"reason": reason})


def estimate_by_architecture(
    parts: Iterable[pd.DataFrame],
    keys: Sequence[str],
    reason: str,
    rule: IntervalRule,
    bounds: Mapping[str, Bounds],
) -> pd.DataFrame:
    """Return means over images, with intervals, of every architecture, then of all; no cell is in two parts.

    `bounds`: measure -> the range of its values.
    """
    of_each, of_all = [], []
    for images in join_parts(parts):
        of_each.append(_estimate_means(images, keys, reason, rule, bounds))
        of_all.append(_estimate_means(_average_over_architectures(images, keys), keys, reason, rule, bounds))
    return pd.concat([*of_each, *of_all], ignore_index=True)
