"""Compute the numbers of claims from scores, predictions and the classification table, each with its interval.

    difference      mean over images of sum_t w_t x_t         t: a method on an architecture; w: +1 and -1, or shares of them
    win_rate        share of images on which the method is the best of its rivals            (stats/winrates.py)
    slope           least-squares slope of a metric on the probability of the predicted class
    spread          log of the standard deviation of a metric between images: an architecture minus the mean of others
    error_share     share of the errors that are between two classes
    classification  a rate of classification, its macro mean                                 (stats/classification.py)
    correlation     rank correlation of a metric with a truth, minus that of another metric  (stats/rank_agreement.py)
    fooled          a control minus the median method, on a metric                           (stats/meta_evaluation.py)

Every number is averaged over seeds. Its interval comes from leaving groups, and seeds, out (stats/intervals.py). An
architecture is compared with another one on the same images and the same seeds. Images without one of the values are left
out. Layers of a control that has several are averaged, like its copies. Cost: 1 ms per number; a correlation takes a third of
a second.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from gradfaith.stats.claim_data import EACH, ClaimData, ClaimTest
from gradfaith.stats.comparisons import is_comparable
from gradfaith.stats.image_scores import MetricSideBySide, scores_by_image
from gradfaith.stats.interval_scales import CORRELATION, PROPORTION, UNBOUNDED, Bounds, IntervalRule
from gradfaith.stats.intervals import (
    INTERVAL_COLUMNS_WITHOUT_P,
    SEED_COLUMNS,
    combination_codes,
    interval_columns,
    intervals_by_cell,
    make_intervals,
)
from gradfaith.stats.meta_evaluation import MEASURES, controls_that_fool
from gradfaith.stats.rank_agreement import MINUS, rank_agreement_with_truth
from gradfaith.stats.spread import FloatArray, Jackknife, measure_jackknife
from gradfaith.stats.winrates import WIN_RATE, estimate_winrates
from gradfaith.vocabulary import ALL_CLASSES


def numbers_of_tests(tests: Sequence[ClaimTest], data: ClaimData) -> pd.DataFrame:
    """Return a row per number, with the bounds of its values; classes in which no image has a value have none.

    A test without any number has a row that says so: what it asks for is not known, so its case cannot be supported.
    """
    tables, sides = list[pd.DataFrame](), dict[str, MetricSideBySide]()
    for test in tests:
        if test.metric and test.quantity in ("difference", "slope", "spread") and test.metric not in sides:
            sides = {test.metric: MetricSideBySide.of(data.scores([test.metric]))}  # one metric at a time: memory
        table = NUMBERS[test.quantity](test, data, sides.get(test.metric))
        own = {
            name: getattr(test, name)
            for name in ("case", "condition", "precondition", "quantity", "metric", "margin", "side")
        }
        known = table[table["n_images"] > 0]
        table = known if len(known) else _without_number(test, _why_none(test, data, sides.get(test.metric)))
        tables.append(table.assign(**own, asked_variant=test.variant))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _why_none(test: ClaimTest, data: ClaimData, side: MetricSideBySide | None) -> str:
    """Return why no image has all values of a test: which method on which architecture has none."""
    if test.images == "several" and not data.several:
        return "the manifest counts several objects in no image"
    missing = dict[str, None]()
    for term in test.terms if side is not None else ():
        assert side is not None  # repeated for mypy
        variants = [term.variant] if term.variant else side.asked(test.variant, across=False)
        values = [
            side.of_method(term.arch, term.method, name, side.layers(term.arch, term.method)) for name in variants
        ]
        if not np.isfinite(values).any():
            missing[f"{term.method} on {term.arch}" + (f" ({term.variant})" if term.variant else "")] = None
    which = f"{test.metric} for {', '.join(missing)}" if missing else test.condition or test.metric
    return f"no image has a value of {which}"


def _without_number(test: ClaimTest, reason: str) -> pd.DataFrame:
    """Return the row of a test for which no image has all values."""
    texts = {"seeds": "", "seed_values": "", "interval": "", "reason": reason}
    blank = dict.fromkeys(INTERVAL_COLUMNS_WITHOUT_P, np.nan) | dict.fromkeys(("n_images", "n_groups", "n_seeds"), 0)
    variant = "" if test.variant in ("first", "all", EACH) else test.variant
    return _with_bounds(pd.DataFrame([blank | texts | {"variant": variant, "label": ""}]), UNBOUNDED)


def _term_values(
    side: MetricSideBySide, test: ClaimTest, several: Collection[str]
) -> Iterator[tuple[str, pd.DataFrame, FloatArray]]:
    """Yield, for every variant of a test, its name, the images with all values, and these values (n, terms)."""
    layers = {term.arch: side.layers(term.arch, term.method) for term in reversed(test.terms)}
    for variant in side.asked(test.variant, across=len({term.arch for term in test.terms}) > 1):
        columns = [
            side.of_method(term.arch, term.method, term.variant or variant, layers[term.arch]) for term in test.terms
        ]
        values = np.stack(columns, axis=1)
        use = np.isfinite(values).all(axis=1)
        if test.images == "several":
            use &= side.rows["image_id"].astype("str").isin(several).to_numpy(bool)
        for term in test.terms if test.images == "correct" else ():
            use &= ~side.wrong[term.arch]
        yield variant, side.rows.iloc[np.flatnonzero(use)], values[use]


def _differences(test: ClaimTest, data: ClaimData, side: MetricSideBySide | None) -> pd.DataFrame:
    assert side is not None  # the metric's scores are side by side
    weights = np.array([term.weight for term in test.terms])
    frames = [
        rows.assign(value=values @ weights, variant=variant, label=rows["label"].astype("str") if test.by_class else "")
        for variant, rows, values in _term_values(side, test, data.several)
    ]
    bounds = range_of_sum(data.bounds(test.metric), weights)
    table = pd.concat(frames, ignore_index=True)
    return _with_bounds(intervals_by_cell(table, ["variant", "label"], data.rule, bounds), bounds)


def range_of_sum(bounds: Bounds, weights: FloatArray) -> Bounds:
    """Return the range of a weighted sum of values that have these bounds."""
    if not bounds.both:
        return bounds if len(weights) == 1 and weights[0] > 0 else UNBOUNDED
    ends = np.sort(np.outer([bounds.low, bounds.high], weights), axis=0).sum(axis=1)
    return Bounds(float(ends[0]), float(ends[1]))


def _win_rates(test: ClaimTest, data: ClaimData, _side: MetricSideBySide | None) -> pd.DataFrame:
    (term,), scores = test.terms, data.scores([test.metric])
    members = scores["method"].isin([term.method, *test.rivals]) & (scores["arch"] == term.arch)
    scores = scores[members & is_comparable(scores)]
    only_correct = test.images == "correct"
    rates = estimate_winrates(
        [scores.reset_index(drop=True)], (), data.better, only_correct=only_correct, rule=data.rule
    )
    rates = rates[(rates["method"] == term.method) & (rates["measure"] == WIN_RATE)]
    rates = rates[(rates["by"] == "label") == test.by_class]
    return _with_bounds(rates.assign(label=rates["stratum"] if test.by_class else ""), PROPORTION)


def _slopes(test: ClaimTest, data: ClaimData, side: MetricSideBySide | None) -> pd.DataFrame:
    assert side is not None  # the metric's scores are side by side
    (term,), tables = test.terms, []
    answers = data.answers(term.arch)
    confidence = answers.filter(regex="^calibrated_").max(axis=1)
    sure = answers[["seed", "image_id"]].assign(confidence=confidence)
    for variant, rows, values in _term_values(side, test, data.several):
        frame = rows.assign(y=values[:, 0], image_id=rows["image_id"].astype("str")).merge(
            sure, on=["seed", "image_id"]
        )
        x, y = frame["confidence"].to_numpy(np.float64), frame["y"].to_numpy(np.float64)
        moments = np.stack([np.ones_like(x), x, y, x * x, x * y], axis=1)
        tables.append(_of_moments(frame, moments, slope, data.rule, variant))
    return pd.concat(tables, ignore_index=True)


def slope(moments: FloatArray) -> FloatArray:  # (..., 5) -> (...)
    """Return the least-squares slope of y on x from the sums of 1, x, y, x^2 and x y; NaN if x is constant."""
    n, x, y, xx, xy = np.moveaxis(moments, -1, 0)
    spread = n * xx - x * x
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(spread > 1e-12 * n * n, (n * xy - x * y) / spread, np.nan))


def _spreads(test: ClaimTest, data: ClaimData, side: MetricSideBySide | None) -> pd.DataFrame:
    assert side is not None  # the metric's scores are side by side
    weights, tables = np.array([term.weight for term in test.terms]), []
    for variant, rows, values in _term_values(side, test, data.several):
        moments = np.concatenate([np.ones((len(values), 1)), values, values**2], axis=1)
        tables.append(_of_moments(rows, moments, lambda sums: log_spread(sums, weights), data.rule, variant))
    return pd.concat(tables, ignore_index=True)


def log_spread(moments: FloatArray, weights: FloatArray) -> FloatArray:  # (..., 1 + 2 t), (t) -> (...)
    """Return the weighted sum of log standard deviations, from the sums of 1, of each x and of each x^2."""
    count, terms = moments[..., :1], len(weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = moments[..., 1 + terms :] / count - (moments[..., 1 : 1 + terms] / count) ** 2
        return np.asarray((0.5 * np.log(np.maximum(variance, 0.0)) * weights).sum(axis=-1))


def _of_moments(
    rows: pd.DataFrame, moments: FloatArray, statistic: Callable[[FloatArray], FloatArray], rule: IntervalRule, variant: str
) -> pd.DataFrame:  # fmt: skip
    """Return a statistic of sums over images, with its interval from leaving each group out; `moments` (n, p)."""
    group, run = combination_codes(rows, ["group"]), combination_codes(rows, SEED_COLUMNS)
    seeds = list(dict.fromkeys(rows["seed"]))
    sums = np.zeros((int(group.max(initial=-1)) + 1, len(seeds), moments.shape[1]))
    np.add.at(sums, (group, run), moments)
    total, count = sums.sum(axis=0), sums[..., 0]
    theta = statistic(total)
    jackknife = Jackknife(theta, statistic(total - sums) - theta, (count / count.sum(axis=0)).mean(axis=1))
    cell = measure_jackknife(
        jackknife, [(seed,) for seed in seeds], present=count > 0, n_images=rows["image_id"].nunique(), rule=rule
    )
    row = interval_columns(make_intervals([cell], rule, UNBOUNDED)[0], seeds) | {"variant": variant, "label": ""}
    return _with_bounds(pd.DataFrame([row]), UNBOUNDED)


def _error_shares(test: ClaimTest, data: ClaimData, _side: MetricSideBySide | None) -> pd.DataFrame:
    (term,), pair = test.terms, set(test.rivals)
    answers = data.answers(term.arch)
    wrong = answers[answers["label"] != answers["predicted"]]
    between = wrong["label"].isin(pair) & wrong["predicted"].isin(pair)
    frame = wrong.assign(value=between.astype(np.float64), variant="", label="")
    return _with_bounds(intervals_by_cell(frame, ["variant", "label"], data.rule, PROPORTION), PROPORTION)


def _rates(test: ClaimTest, data: ClaimData, _side: MetricSideBySide | None) -> pd.DataFrame:
    table = data.classification
    (term,) = test.terms
    own = table[(table["arch"] == term.arch) & (table["metric"] == test.metric) & (table["class"] == ALL_CLASSES)]
    return _with_bounds(own.assign(variant="", label=""), PROPORTION)


def _correlations(test: ClaimTest, data: ClaimData, _side: MetricSideBySide | None) -> pd.DataFrame:
    metrics = list(dict.fromkeys(filter(None, (test.metric, test.against_metric, test.truth))))
    table = scores_by_image([_of_test_part(data.scores(metrics))], data.better)
    found = rank_agreement_with_truth(table, [test.truth], data.controls, test.against_metric, data.rule)
    found = found[(found["view"] == "image") & (found["arch"] == "") & (found["who"] == "methods")]
    measure = "spearman" + (MINUS + test.against_metric if test.against_metric else "")
    found = found[(found["metric"] == test.metric) & (found["measure"] == measure)]
    return _with_bounds(_asked(found, test), CORRELATION.of_differences if test.against_metric else CORRELATION)


def _fooled(test: ClaimTest, data: ClaimData, _side: MetricSideBySide | None) -> pd.DataFrame:
    table = controls_that_fool(
        scores_by_image([_of_test_part(data.scores([test.metric]))], data.better), data.controls, data.rule
    )
    own = table[(table["who"] == test.rivals[0]) & (table["arch"] == "") & (table["measure"] == MEASURES[0])]
    return _with_bounds(_asked(own, test), UNBOUNDED)


def _of_test_part(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[is_comparable(scores)].reset_index(drop=True)


def _asked(table: pd.DataFrame, test: ClaimTest) -> pd.DataFrame:
    """Return the rows of the variants that a test names; the first is the primary one."""
    variants = list(dict.fromkeys(table["variant"]))
    kept = {"first": variants[:1], "all": variants, "each": variants}.get(test.variant, [test.variant])
    return table[table["variant"].isin(kept)].assign(label="")


def _with_bounds(table: pd.DataFrame, bounds: Bounds) -> pd.DataFrame:
    kept = table[["variant", "label", *INTERVAL_COLUMNS_WITHOUT_P]]
    return kept.assign(bound_low=bounds.low, bound_high=bounds.high)


NUMBERS: Mapping[str, Callable[[ClaimTest, ClaimData, MetricSideBySide | None], pd.DataFrame]] = {
    "difference": _differences, "win_rate": _win_rates, "slope": _slopes, "spread": _spreads, "error_share": _error_shares,
    "classification": _rates, "correlation": _correlations, "fooled": _fooled,
}  # fmt: skip
