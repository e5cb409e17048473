"""Evaluate the study's metrics: their rank agreement with the evidence, and the controls that score above methods.

Rank agreement is computed in stats/rank_agreement.py. Here controls, whose maps ignore the model, are compared with the
methods on every metric:                                                                                  [domeniconi2026]

    over the median   mean over images of (control - median method)      the median of the methods that have a value there
    over the best     mean over images of (control - best method)        best: in the mean over images, by architecture
    beats             the share of images on which the control is above the median method, or the best; ties count half

A metric is fooled by a control whose interval is above the median method, and badly fooled by one above the best method. The
best method is chosen on the same images, so the latter result is cautious. Each interval has its own level: of forty controls
that are as good as the median method, one will seem better. Higher is better throughout. All shuffled maps are one control,
"shuffled": their median is compared with the median method, and the best method's own shuffled map with the best method. No
evidence is needed here. A gain has the metric's own unit, and gains within rounding error count as 0; shares are comparable
between metrics. n_undefined: images of a model on which one of the two has no value.

`order_only` marks metrics that declare to read only the order of a map's values, so that any increasing change of the map
does not change them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd

from gradfaith.stats.comparisons import is_comparable
from gradfaith.stats.estimates import MetricVariant
from gradfaith.stats.image_scores import ScoresByImage, estimate_by_architecture, scores_by_image
from gradfaith.stats.interval_scales import DEFAULT_RULE, PROPORTION, IntervalRule
from gradfaith.stats.rank_agreement import rank_agreement_with_truth
from gradfaith.stats.spread import NO_IMAGES, CodeArray, FlagArray, FloatArray
from gradfaith.stats.winrates import TIE_TOLERANCE
from gradfaith.vocabulary import SHUFFLED


def evaluate_metrics(
    parts: Iterable[pd.DataFrame],
    truth: Sequence[str],
    better: Mapping[str, str],
    controls: Sequence[str],
    *,
    against: str,
    order_only: Sequence[str],
    rule: IntervalRule = DEFAULT_RULE,
) -> pd.DataFrame:
    """Return the rank agreement of every metric with each truth, and how controls score on it.

    Args:
        parts: one row per map, metric and variant; the rows of a metric or an image can be in several parts.
        truth: metrics that measure how good a map is.
        better: metric -> higher, lower or neither; other metrics are not evaluated.
        controls: labels of the controls.
        against: the metric that every other is compared with; "": none.
        order_only: metrics that read only the order of a map's values.
        rule: of the intervals.
    """
    comparable = map(
        partial(_test_rows, better=better), parts
    )  # unlike a loop, `map` keeps no part while it reads the next
    scores = scores_by_image(comparable, better)
    agreement = rank_agreement_with_truth(scores, truth, controls, against, rule)
    of_controls = controls_that_fool(scores, controls, rule).assign(truth="", n_wrong=0)
    table = pd.concat([agreement.assign(fooled=False), of_controls], ignore_index=True)
    return table.assign(order_only=table["metric"].isin(order_only))


def _test_rows(part: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """Return the scores of test images for the evaluation of metrics."""
    return part[(part["part"] == "test") & part["metric"].isin(better) & is_comparable(part)]


CONTROL_KEYS = ("view", "arch", "metric", "variant", "who", "measure")
MEASURES = ("over the median", "over the best", "beats the median", "beats the best")
ALL_SHUFFLED = SHUFFLED.removesuffix("-")
NO_COLUMN = -1


def controls_that_fool(
    scores: ScoresByImage, controls: Sequence[str], rule: IntervalRule = DEFAULT_RULE
) -> pd.DataFrame:
    """Return one row per architecture ("": all), metric, variant, control and measure; `fooled` marks the gains above 0."""
    gains = chain.from_iterable(_control_gains(scores, name, controls) for name in scores.values)
    shares = dict.fromkeys(MEASURES[2:], PROPORTION)
    means = estimate_by_architecture(gains, CONTROL_KEYS, NO_IMAGES, rule, shares)
    is_gain = means["measure"].isin(MEASURES[:2])
    return means.assign(fooled=is_gain & (means["low"] > 0))


def _control_gains(table: ScoresByImage, name: MetricVariant, controls: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the measures of every control on one metric, with a row per image and model that has its score."""
    values, has_score, is_control = table.values[name], table.has_score[name], table.is_control(controls)
    method_values = values[:, ~is_control]
    if not np.isfinite(method_values).any():
        return
    n_methods = np.isfinite(method_values).sum(axis=1)
    best = _best_method_columns(values, ~is_control, table.units["arch"].to_numpy())
    for control, columns in _control_columns(table, controls).items():
        scored = has_score[:, columns].any(axis=1)
        own_median = _row_medians(values[:, columns])
        pairs = {
            "median": (own_median, _row_medians(method_values)),
            "best": (own_median, _take_columns(values, best)),
        }
        if control == ALL_SHUFFLED:
            pairs["best"] = _take_columns(values, _shuffled_columns(table.methods)[best]), pairs["best"][1]
        for against, (control_value, method_value) in pairs.items():
            gain = control_value - method_value
            gain[np.abs(gain) <= TIE_TOLERANCE] = 0
            for measure, numbers in ((f"over the {against}", gain), (f"beats the {against}", (1 + np.sign(gain)) / 2)):
                frame = table.units.assign(value=numbers, n_methods=n_methods)[scored]
                yield frame.assign(view="controls", metric=name[0], variant=name[1], who=control, measure=measure)


def _control_columns(table: ScoresByImage, controls: Sequence[str]) -> dict[str, list[int]]:
    """Return the columns of each control, in the study's order; all shuffled maps are one control, the last."""
    columns: dict[str, list[int]] = {name: [] for name in (*controls, ALL_SHUFFLED)}
    for column, method in enumerate(table.methods):
        name = ALL_SHUFFLED if method.startswith(SHUFFLED) else method
        if name in columns:
            columns[name].append(column)
    return {name: own for name, own in columns.items() if own}


def _best_method_columns(
    values: FloatArray, is_method: FlagArray, archs: FloatArray
) -> CodeArray:  # (units, methods), (methods), (units) -> (units)
    """Return the column of each architecture's best method, for every unit; NO_COLUMN if no method has a value."""
    best = np.full(len(values), NO_COLUMN)
    for arch in dict.fromkeys(archs):
        rows = archs == arch
        means = np.where(is_method, _row_means(values[rows].T), np.nan)
        if np.isfinite(means).any():
            best[rows] = int(np.nanargmax(means))
    return best


def _shuffled_columns(methods: Sequence[str]) -> CodeArray:  # (methods + 1)
    """Return the column of each method's shuffled map, and a last NO_COLUMN, so that NO_COLUMN is a valid index too.

    The shuffled maps of a method with several layers are in the order of its layers.
    """
    columns: dict[str, list[int]] = {}
    for column, name in enumerate(methods):
        columns.setdefault(name, []).append(column)
    remaining = {name: iter(own) for name, own in columns.items()}
    return np.array([*(next(remaining.get(SHUFFLED + name, iter(())), NO_COLUMN) for name in methods), NO_COLUMN])


def _take_columns(values: FloatArray, columns: CodeArray) -> FloatArray:  # (units, methods), (units) -> (units)
    return np.where(columns == NO_COLUMN, np.nan, values[np.arange(len(values)), columns])


def _row_medians(values: FloatArray) -> FloatArray:  # (units, methods) -> (units)
    """Return the medians of the finite values; NaN for a row without any."""
    medians = np.full(len(values), np.nan)
    has_value = np.isfinite(values).any(axis=1)
    medians[has_value] = np.nanmedian(values[has_value], axis=1)
    return medians


def _row_means(values: FloatArray) -> FloatArray:  # (rows, columns) -> (rows)
    """Return the means of the finite values; NaN for a row without any."""
    count = np.isfinite(values).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=1) / count)
