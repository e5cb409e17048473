"""Correlate metrics with a truth: the agreement of their ranking of methods with a localization metric.    [domeniconi2026]

    truth     a localization metric, which compares a map with the evidence it should show
    image     r over methods of (metric, truth) on one image of one model; then the mean over images
    cells     r_s over cells c of (mean_i x_ic, mean_i t_ic); then the mean over seeds s
              c: a method on an architecture, with seed s;  i: images with both numbers
    r         Pearson of the values, and Spearman = Pearson of the ranks; ties share the mean of their ranks

The paper shows the second view; the first is independent of differences between images and models. Both are computed over
the methods, over the controls, and over both together: a metric that separates methods from controls may still be unable to
rank methods. Only correctly classified images count, because only there the model should have used the evidence, and metric
and truth read the same map; n_wrong counts the others. A metric whose lower values are better is negated. With `against`, the
table also has each metric's r minus that metric's, image by image. A correlation is not a proof: the truth states where the
evidence is, not that the model used all of it.

Only places with both numbers count. Values that differ by less than winrates.TIE_TOLERANCE are tied, because methods that are
algebraically equal differ by rounding. With fewer than three places, or one side constant, there is no correlation (NaN);
n_undefined counts such images of a model, and over cells the cells without an image with both numbers.

Intervals are over groups, or groups and seeds (stats/intervals.py), for the given methods and architectures: they hold for
new patients, not for new methods. Over cells, each group of images is left out of all means at once. Simulated coverage of
95 %, 8-24 cells and 12-48 groups: Pearson 93-96 %; Spearman 86-100 %, because ranks change in steps. If the noise in the
means is as large as the differences of methods, r is biased towards 0, and the coverage falls to 76 %.

`arch` "" is the mean over architectures of images that all of them have (image), or all of their cells (cells). Cost: a
third of a second per metric, variant and truth for six models, 20 methods and 100 images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.stats.estimates import MetricVariant
from gradfaith.stats.image_scores import ScoresByImage, estimate_by_architecture
from gradfaith.stats.interval_scales import CORRELATION, DEFAULT_RULE, Bounds, IntervalRule
from gradfaith.stats.intervals import (
    INTERVAL_COLUMNS_WITHOUT_P,
    Interval,
    combination_codes,
    interval_columns,
    make_intervals,
    no_interval,
)
from gradfaith.stats.spread import CodeArray, FlagArray, FloatArray, Jackknife, measure_jackknife
from gradfaith.stats.winrates import TIE_TOLERANCE

MIN_PAIRS = 3  # fewer pairs of numbers have no correlation


def spearman(x: FloatArray, t: FloatArray) -> FloatArray:  # (..., m), (..., m) -> (...)
    """Return Spearman's correlation along the last axis; NaN values are skipped. Cost: O(m^2), because of the tolerance."""
    x, t = _keep_complete_pairs(x, t)
    return pearson(tied_ranks(x), tied_ranks(t))


def pearson(x: FloatArray, t: FloatArray) -> FloatArray:  # (..., m), (..., m) -> (...)
    """Return Pearson's correlation along the last axis; NaN values are skipped."""
    x, t = _keep_complete_pairs(x, t)
    count = np.isfinite(x).sum(axis=-1)
    undefined = _is_constant(x) | _is_constant(t) | (count < MIN_PAIRS)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, t = (values - np.nansum(values, axis=-1, keepdims=True) / count[..., None] for values in (x, t))
        r = np.nansum(x * t, axis=-1) / np.sqrt(np.nansum(x**2, axis=-1) * np.nansum(t**2, axis=-1))
    return np.asarray(np.where(undefined, np.nan, np.clip(r, -1, 1)))


COEFFICIENTS: Mapping[str, Callable[[FloatArray, FloatArray], FloatArray]] = {"spearman": spearman, "pearson": pearson}


def tied_ranks(values: FloatArray) -> FloatArray:  # (..., m) -> (..., m)
    """Return ranks along the last axis, 1 for the lowest; ties share the mean of their ranks; NaN stays NaN."""
    below, tied = np.zeros(values.shape), np.zeros(values.shape)
    for place in range(values.shape[-1]):  # not all pairs at once, which would be m times the values
        ahead = values - values[..., [place]]
        below, tied = below + (ahead > TIE_TOLERANCE), tied + (np.abs(ahead) <= TIE_TOLERANCE)
    return np.where(np.isfinite(values), below + (tied + 1) / 2, np.nan)


def _keep_complete_pairs(x: FloatArray, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    complete = np.isfinite(x) & np.isfinite(t)
    return np.where(complete, x, np.nan), np.where(complete, t, np.nan)


def _is_constant(values: FloatArray) -> FlagArray:  # (..., m) -> (...)
    low = np.where(np.isnan(values), np.inf, values).min(axis=-1, initial=np.inf)
    high = np.where(np.isnan(values), -np.inf, values).max(axis=-1, initial=-np.inf)
    return np.asarray(high - low <= TIE_TOLERANCE)


TOO_FEW_CELLS = f"fewer than {MIN_PAIRS} cells have both means, or all are the same"


def agreement_over_cells(
    units: pd.DataFrame,  # (units): arch, seed, group and image_id
    x: FloatArray,  # (units, methods): the metric
    t: FloatArray,  # (units, methods): the truth
    has_score: FlagArray,  # (units, methods)
    methods: NDArray[np.str_],
    rule: IntervalRule,
) -> Iterator[dict[str, object]]:
    """Yield a row per coefficient: the correlation over cells, with its interval."""
    complete = np.isfinite(x) & np.isfinite(t)
    group = combination_codes(units, ["group"])
    n_groups = int(group.max(initial=-1)) + 1
    seeds = list(dict.fromkeys(units["seed"]))
    sums_by_seed = []
    for seed in seeds:
        at = (units["seed"] == seed).to_numpy(bool)
        arch = combination_codes(units[at], ["arch"])
        sums_by_seed.append(_CellSums.of(x[at], t[at], complete[at], group[at], arch, n_groups))
    model = combination_codes(units, ["arch", "seed"])
    models = [model == code for code in np.unique(model)]
    empty = [(has_score[at].any(axis=0) & ~complete[at].any(axis=0)).sum() for at in models]
    counts = {"n_methods": len(set(methods[complete.any(axis=0)])), "n_undefined": int(sum(empty))}
    n_images = int(units["image_id"][np.asarray(complete.any(axis=1))].nunique())
    for measure in COEFFICIENTS:
        interval, used_seeds = _coefficient_interval(sums_by_seed, seeds, measure, n_images, rule)
        yield {"measure": measure, **interval_columns(interval, used_seeds), **counts}


@dataclass(frozen=True)
class _CellSums:
    """Sums and counts of metric (x) and truth (t) by group and cell, of the models of one seed."""

    x: FloatArray  # (g, c)
    t: FloatArray  # (g, c)
    count: FloatArray  # (g, c)

    @classmethod
    def of(
        cls, x: FloatArray, t: FloatArray, complete: FloatArray, group: CodeArray, arch: CodeArray, n_groups: int
    ) -> "_CellSums":
        """Sum the values of units (units, methods) by group and cell; a cell without any value is left out."""
        sums = np.zeros((3, n_groups, int(arch.max(initial=-1)) + 1, x.shape[1]))
        for place, values in enumerate((np.where(complete, x, 0), np.where(complete, t, 0), complete)):
            np.add.at(sums[place], (group, arch), values)
        flat = sums.reshape(3, n_groups, -1)
        return cls(*flat[:, :, flat[2].any(axis=0)])

    def coefficient(self, measure: str) -> tuple[float, FloatArray]:
        """Return the coefficient of all groups, and without each of them (g); NaN if a cell would become empty."""
        total = self.count.sum(axis=0)
        rest = total - self.count
        of_all = COEFFICIENTS[measure](self.x.sum(axis=0) / total, self.t.sum(axis=0) / total)
        with np.errstate(invalid="ignore", divide="ignore"):
            x, t = ((sums.sum(axis=0) - sums) / rest for sums in (self.x, self.t))
        without = COEFFICIENTS[measure](x, t)
        return float(of_all), np.where((rest > 0).all(axis=1), without, np.nan)


def _coefficient_interval(
    sums_by_seed: Sequence[_CellSums], seeds: Sequence[object], measure: str, n_images: int, rule: IntervalRule
) -> tuple[Interval, list[object]]:
    """Return the mean coefficient over seeds with its interval, and the seeds that have a coefficient."""
    found = [sums.coefficient(measure) for sums in sums_by_seed]
    ok = [place for place, (of_all, _) in enumerate(found) if np.isfinite(of_all)]
    if not ok:
        return no_interval(TOO_FEW_CELLS, n_images), []
    theta = np.array([found[place][0] for place in ok])
    without = np.stack([found[place][1] for place in ok], axis=1)  # (g, r)
    weight = np.stack([sums_by_seed[place].count.sum(axis=1) for place in ok], axis=1)
    shares = (weight / weight.sum(axis=0)).mean(axis=1)
    used_seeds = [seeds[place] for place in ok]
    runs = [(seed,) for seed in used_seeds]
    jackknife = Jackknife(theta, without - theta, shares)
    cell = measure_jackknife(jackknife, runs, present=weight > 0, n_images=n_images, rule=rule)
    return make_intervals([cell], rule, CORRELATION)[0], used_seeds


AGREEMENT_KEYS = ("view", "truth", "arch", "metric", "variant", "who", "measure")
COUNTS = ("n_methods", "n_undefined", "n_wrong")
AGREEMENT_COLUMNS = (*AGREEMENT_KEYS, *INTERVAL_COLUMNS_WITHOUT_P, *COUNTS)
TOO_FEW_METHODS = f"on no image have {MIN_PAIRS} methods both numbers, and not all the same"
MINUS = " minus "


def rank_agreement_with_truth(
    scores: ScoresByImage,
    truths: Sequence[str],
    controls: Sequence[str],
    against: str = "",
    rule: IntervalRule = DEFAULT_RULE,
) -> pd.DataFrame:
    """Return one row per view, truth, architecture ("": all), metric, variant, who is ranked, and coefficient.

    `truths` are localization metrics; `against`: a metric whose coefficient is subtracted from the others'.
    """
    names = {truth: scores.first_variant(against or truth) for truth in truths}
    tables = (
        _agreement_with_truth(scores, scores.first_variant(truth), controls, rival, rule)
        for truth, rival in names.items()
    )
    return pd.concat(chain.from_iterable(tables), ignore_index=True)[list(AGREEMENT_COLUMNS)]


def _agreement_with_truth(
    scores: ScoresByImage, truth: MetricVariant, controls: Sequence[str], rival: MetricVariant, rule: IntervalRule
) -> Iterator[pd.DataFrame]:
    has_truth = np.isfinite(scores.values[truth]).any(axis=1)
    correct = scores.units["correct"].fillna(False).to_numpy(bool)
    n_wrong = scores.units[has_truth & ~correct].groupby("arch", observed=True).size().to_dict()
    n_wrong |= {"": sum(n_wrong.values())}  # of all architectures
    selected = scores.select(has_truth & correct)
    by_image = _coefficients_by_image(selected, truth, controls, rival)
    keys = [key for key in AGREEMENT_KEYS if key != "truth"]
    for table in (
        estimate_by_architecture(by_image, keys, TOO_FEW_METHODS, rule, _bounds_of_measures(rival)),
        _agreement_by_cell(selected, truth, controls, rule),
    ):
        yield table.assign(truth=truth[0], n_wrong=table["arch"].map(n_wrong).fillna(0).astype(np.int64))


def _bounds_of_measures(rival: MetricVariant | None) -> dict[str, Bounds]:
    """Return the range of every coefficient, and of its difference to the coefficient of another metric."""
    bounds = dict.fromkeys(COEFFICIENTS, CORRELATION)
    return bounds | ({name + MINUS + rival[0]: CORRELATION.of_differences for name in COEFFICIENTS} if rival else {})


def _ranked_columns(table: ScoresByImage, controls: Sequence[str]) -> dict[str, FlagArray]:
    """Return the columns of each set of methods that is ranked."""
    is_control = table.is_control(controls)
    return {"methods": ~is_control, "controls": is_control, "together": np.ones_like(is_control)}


def _coefficients_by_image(
    table: ScoresByImage, truth: MetricVariant, controls: Sequence[str], rival: MetricVariant
) -> Iterator[pd.DataFrame]:
    """Yield the coefficients of every image, metric by metric; `rival`: the metric whose coefficients are subtracted; the truth itself: none."""
    for (who, columns), measure in product(_ranked_columns(table, controls).items(), COEFFICIENTS):
        other = _image_coefficients(table, rival, truth, columns, measure) if rival != truth else None
        for name in (name for name in table.values if name != truth):
            keys = {"view": "image", "metric": name[0], "variant": name[1], "who": who}
            images = _image_coefficients(table, name, truth, columns, measure)
            yield images.assign(measure=measure, **keys)
            if other is not None and name[0] != rival[0]:
                value = images["value"] - other["value"]  # by the image's position in the table
                yield images.assign(value=value, measure=measure + MINUS + rival[0], **keys)


def _image_coefficients(
    table: ScoresByImage, name: MetricVariant, truth: MetricVariant, columns: FlagArray, measure: str
) -> pd.DataFrame:
    """Return the coefficient of every image of a model with scores of the metric; NaN: no coefficient."""
    has_score = table.has_score[name][:, columns]
    value = COEFFICIENTS[measure](table.values[name][:, columns], table.values[truth][:, columns])
    return table.units.assign(value=value, n_methods=has_score.sum(axis=1))[np.asarray(has_score.any(axis=1))]


def _agreement_by_cell(
    table: ScoresByImage, truth: MetricVariant, controls: Sequence[str], rule: IntervalRule
) -> pd.DataFrame:
    rows = []
    archs = ["", *dict.fromkeys(table.units["arch"])]
    for arch, (who, columns) in product(archs, _ranked_columns(table, controls).items()):
        selected = table if arch == "" else table.select((table.units["arch"] == arch).to_numpy(bool))
        for name in selected.values:
            has_score = selected.has_score[name][:, columns]
            if name != truth and has_score.any():
                keys = {"view": "cells", "arch": arch, "metric": name[0], "variant": name[1], "who": who}
                pair = selected.values[name][:, columns], selected.values[truth][:, columns]
                methods = np.array(selected.methods)[columns]
                rows += [keys | row for row in agreement_over_cells(selected.units, *pair, has_score, methods, rule)]
    return pd.DataFrame(rows)
