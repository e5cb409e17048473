"""Estimate the classification performance of each architecture, by class and as macro means (Table I), with intervals over patients.

    sensitivity = recall = TP / (TP + FN)     specificity = TN / (TN + FP)     precision = TP / (TP + FP)
    F1 = 2 TP / (2 TP + FP + FN)              AUROC = P(a positive scores above a negative), ties half; one against rest
    macro X = mean over classes of X          balanced accuracy = macro sensitivity = macro recall

The paper's rows agree with these definitions (its sensitivity equals its recall; its F1 is a mean of the classes' F1). A
value is computed per seed and averaged over seeds. These are ratios, so the interval comes from leaving each group out
(stats/intervals.py): a cluster-robust interval like that of the scores. A macro mean loses k - 1 degrees of freedom to its
k class means. A rate without a value (a class that is never predicted has no precision) is "undefined", never 0, and makes
its macro mean undefined. The mean is then over the seeds with a value, and n_undefined counts the others. If all
images are classified correctly, the interval is that of as many correct groups: one without width would suggest certainty.

Rows of a confusion matrix are true classes, columns predicted ones. Everything is exact and batched: a matrix without a
group is the difference of two counts, and the AUROC's wins come from one sort and are then subtracted group by group. Its
standard error is within 4 % of that of the clustered method [obuchowski1997] on 40 patients, in the tests.
n_images and n_groups count the images and groups behind the value; for a class's AUROC, those of the class. Cost:
O(n log n) per class, milliseconds per model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.errors import BrokenTable
from gradfaith.stats.interval_scales import DEFAULT_RULE, PROPORTION, IntervalRule
from gradfaith.stats.intervals import INTERVAL_COLUMNS_WITHOUT_P, interval_columns, make_intervals, no_interval
from gradfaith.stats.spread import CodeArray, FloatArray, Jackknife, SeedRun, measure_jackknife
from gradfaith.vocabulary import ALL_CLASSES


def true_positives(matrix: FloatArray) -> FloatArray:  # (..., k, k) -> (..., k)
    """Return the number of correctly predicted images of each class, from confusion matrices (true classes in rows)."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def images_of_class(matrix: FloatArray) -> FloatArray:  # (..., k, k) -> (..., k)
    """Return the number of images of each class."""
    return np.asarray(matrix.sum(axis=-1))


def images_predicted_as(matrix: FloatArray) -> FloatArray:  # (..., k, k) -> (..., k)
    """Return the number of images predicted as each class."""
    return np.asarray(matrix.sum(axis=-2))


def images_of_other_classes(matrix: FloatArray) -> FloatArray:
    """Return the number of images that do not belong to each class."""
    return np.asarray(matrix.sum(axis=(-2, -1))[..., None] - images_of_class(matrix))


def images_of_or_predicted_as(matrix: FloatArray) -> FloatArray:
    """Return the number of images that belong to each class, are predicted as it, or both."""
    return images_of_class(matrix) + images_predicted_as(matrix) - true_positives(matrix)


def sensitivity(matrix: FloatArray) -> FloatArray:
    """Return the sensitivity of each class; NaN for a class without images."""
    return _ratio(true_positives(matrix), images_of_class(matrix))


def specificity(matrix: FloatArray) -> FloatArray:
    """Return the specificity of each class; NaN if all images belong to it."""
    return _ratio(
        images_of_other_classes(matrix) - images_predicted_as(matrix) + true_positives(matrix),
        images_of_other_classes(matrix),
    )


def precision(matrix: FloatArray) -> FloatArray:
    """Return the precision of each class; NaN if no image is predicted as it."""
    return _ratio(true_positives(matrix), images_predicted_as(matrix))


def f1(matrix: FloatArray) -> FloatArray:
    """Return the F1 score of each class."""
    return _ratio(2 * true_positives(matrix), images_of_class(matrix) + images_predicted_as(matrix))


def accuracy(matrix: FloatArray) -> FloatArray:  # (..., k, k) -> (...)
    """Return the share of correctly predicted images."""
    return _ratio(true_positives(matrix).sum(axis=-1), matrix.sum(axis=(-2, -1)))


RateFunction = Callable[[FloatArray], FloatArray]
# A rate, and its number of images; a group's share of these images is its weight in the interval.
RATES: Mapping[str, tuple[RateFunction, RateFunction]] = {
    "sensitivity": (sensitivity, images_of_class),
    "specificity": (specificity, images_of_other_classes),
    "precision": (precision, images_predicted_as),
    "recall": (sensitivity, images_of_class),
    "f1": (f1, images_of_or_predicted_as),
}


def confusion_matrices(
    label: CodeArray, predicted: CodeArray, group: CodeArray, shape: tuple[int, int]
) -> FloatArray:  # (g, k, k)
    """Return the confusion matrix of every group from codes of label, prediction and group; `shape`: groups, classes."""
    g, k = shape
    return np.bincount((group * k + label) * k + predicted, minlength=g * k * k).astype(np.float64).reshape(g, k, k)


def auroc(score: FloatArray, positive: NDArray[np.bool_], group: CodeArray, groups: int) -> tuple[float, FloatArray]:
    """Return the AUROC of one class, and without each group (g).

    `score` (n): the probability of the class; `positive` (n): the image is of the class; `group` (n): from 0 to `groups`.
    """
    negatives, positives = np.sort(score[~positive]), np.sort(score[positive])
    wins = _count_below(negatives, score[positive])  # number of negatives below each positive
    losses = len(positives) - _count_below(positives, score[~positive])  # number of positives above each negative
    positive_group, negative_group = group[positive], group[~positive]
    group_wins = np.bincount(positive_group, wins, groups) + np.bincount(negative_group, losses, groups)
    for both in np.intersect1d(positive_group, negative_group):  # pairs within a group were subtracted twice
        inside = group == both
        group_wins[both] -= _count_below(np.sort(score[~positive & inside]), score[positive & inside]).sum()
    pairs = (len(positive_group) - np.bincount(positive_group, minlength=groups)) * (
        len(negative_group) - np.bincount(negative_group, minlength=groups)
    )
    of_all = _ratio(np.asarray(wins.sum()), np.asarray(float(len(positive_group) * len(negative_group))))
    return float(of_all), _ratio(wins.sum() - group_wins, pairs.astype(np.float64))


def _count_below(ordered: FloatArray, score: FloatArray) -> FloatArray:
    """Count the values of `ordered` below each score; ties count half."""
    return (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan))


CLASSIFICATION_COLUMNS = ("arch", "metric", "class", *INTERVAL_COLUMNS_WITHOUT_P, "status", "n_undefined")


def estimate_classification(
    predictions: pd.DataFrame, classes: Sequence[str], part: str = "test", rule: IntervalRule = DEFAULT_RULE
) -> pd.DataFrame:
    """Return one row per architecture, metric and class ("macro" for their mean), over the seeds in `predictions`.

    `predictions` has one row per image and model: arch, seed, image_id, group, part, label, predicted and, for the
    AUROC, probability_<class>. `classes` are the labels in the order of the study.
    """
    table, rows = _select_part(predictions, classes, part), []
    for arch, of_arch in table.groupby("arch", sort=False, observed=True):
        runs: list[SeedRun] = [(seed,) for seed in of_arch["seed"].unique()]
        for metric in _metrics_of_architecture(of_arch, list(classes)):
            keys = {"arch": arch, "metric": metric.name, "class": metric.class_name}
            rows.append({**keys, **_estimate_row(metric, runs, rule)})
    return pd.DataFrame(rows, columns=list(CLASSIFICATION_COLUMNS))


def confusion_table(predictions: pd.DataFrame, classes: Sequence[str], part: str = "test") -> pd.DataFrame:
    """Return confusion matrices, summed over seeds: arch, label, predicted, n, and n's share of the label."""
    table = _select_part(predictions, classes, part)
    pairs = pd.MultiIndex.from_product([table["arch"].unique(), classes, classes], names=["arch", "label", "predicted"])
    counts = (
        table.groupby(["arch", "label", "predicted"], observed=True)
        .size()
        .reindex(pairs, fill_value=0)
        .reset_index(name="n")
    )
    totals = counts.groupby(["arch", "label"], sort=False)["n"].transform("sum")
    return counts.assign(share=counts["n"] / totals.where(totals > 0))


@dataclass(frozen=True)
class _ClassMetric:
    """One metric of one class, per seed and without each group."""

    name: str
    class_name: str  # or ALL_CLASSES
    theta: FloatArray  # (r)
    without: FloatArray  # (g, r): the value without the group
    weight: FloatArray  # (g, r): images behind the value, or their share
    n_images: int
    lost_df: int  # degrees of freedom


def _select_part(predictions: pd.DataFrame, classes: Sequence[str], part: str) -> pd.DataFrame:
    table = predictions[predictions["part"] == part]
    unknown = (set(table["label"]) | set(table["predicted"])) - set(classes)
    twice = table.duplicated(["arch", "seed", "image_id"]).any()
    if table.empty or unknown or twice:
        fault = (
            f"classes {sorted(unknown)}"
            if unknown
            else "an image twice for one model"
            if twice
            else f"no image of part {part!r}"
        )
        raise BrokenTable(
            problem=f"The predictions contain {fault}; the classes are {', '.join(classes)}.",
            reason="An accuracy is a share of the images of one part, so each image needs exactly one prediction per model, and a "
            "class of the study.",
            fix="Delete predictions/ in results/<study>/ and run the study again: it computes all predictions again.",
        )
    return table


def _metrics_of_architecture(table: pd.DataFrame, classes: list[str]) -> Iterator[_ClassMetric]:
    """Yield every metric of one architecture."""
    group, names = pd.factorize(table["group"])
    run = pd.factorize(table["seed"])[0]
    label, predicted = (
        pd.Index(classes).get_indexer(pd.Index(table[column])).astype(np.int64) for column in ("label", "predicted")
    )
    shape = (len(names), len(classes))
    models = [np.flatnonzero(run == code) for code in range(run.max() + 1)]
    by_group = np.stack(  # (g, r, k, k)
        [confusion_matrices(label[at], predicted[at], group[at], shape) for at in models], axis=1
    )
    total = by_group.sum(axis=0)
    without = total - by_group
    images = by_group.sum(axis=(2, 3))
    n = int(images.sum(axis=0).max())
    yield _ClassMetric("accuracy", ALL_CLASSES, accuracy(total), accuracy(without), images, n, lost_df=0)
    of_class = images_of_class(by_group)
    yield _macro_mean("balanced_accuracy", sensitivity(total), sensitivity(without), of_class, n)
    for metric, (rate, basis) in RATES.items():
        yield from _by_class(metric, classes, rate(total), rate(without), basis(by_group), n)
    columns = [f"probability_{name}" for name in classes]
    if set(columns) <= set(table):
        scores = table[columns].to_numpy(np.float64)
        theta, auroc_without = _auroc_by_class(scores, label, group, models, shape)
        yield from _by_class("auroc", classes, theta, auroc_without, of_class, n)


def _auroc_by_class(
    scores: FloatArray,
    label: CodeArray,
    group: CodeArray,
    models: list[CodeArray],
    shape: tuple[int, int],
) -> tuple[FloatArray, FloatArray]:
    """Return the AUROC per seed and class (r, k), and without each group (g, r, k)."""
    found = [[auroc(scores[at, k], label[at] == k, group[at], shape[0]) for k in range(shape[1])] for at in models]
    theta = np.array([[of_all for of_all, _ in row] for row in found])
    return theta, np.moveaxis(np.array([[without for _, without in row] for row in found]), 2, 0)


def _by_class(
    metric: str, classes: list[str], theta: FloatArray, without: FloatArray, weight: FloatArray, n: int
) -> Iterator[_ClassMetric]:
    """Yield the macro mean, then class by class; theta (r, k), without and weight (g, r, k)."""
    yield _macro_mean(metric, theta, without, weight, n)
    for k, name in enumerate(classes):
        n_images = int(weight[..., k].sum(axis=0).max())
        yield _ClassMetric(metric, name, theta[:, k], without[..., k], weight[..., k], n_images, lost_df=0)


def _macro_mean(metric: str, theta: FloatArray, without: FloatArray, weight: FloatArray, n: int) -> _ClassMetric:
    share = (weight / np.maximum(weight.sum(axis=0), 1)).mean(axis=-1)
    lost_df = theta.shape[-1] - 1
    return _ClassMetric(metric, ALL_CLASSES, theta.mean(axis=-1), without.mean(axis=-1), share, n, lost_df)


def _estimate_row(metric: _ClassMetric, runs: list[SeedRun], rule: IntervalRule) -> dict[str, object]:
    """Return the columns of the estimate: its mean over the seeds with a value, and the interval."""
    ok = np.isfinite(metric.theta)
    estimate = no_interval("the formula has no value here", metric.n_images)
    ok_runs = [run for run, has_value in zip(runs, ok, strict=True) if has_value]
    if ok_runs:
        theta, weight = metric.theta[ok], metric.weight[:, ok]
        shares = (weight / weight.sum(axis=0)).mean(axis=1)
        cell = measure_jackknife(
            Jackknife(theta, metric.without[:, ok] - theta, shares), ok_runs, present=weight > 0,
            n_images=metric.n_images, lost_df=metric.lost_df, rule=rule,
        )  # fmt: skip
        estimate = make_intervals([cell], rule, PROPORTION)[0]
    row = interval_columns(estimate, [seed for (seed,) in ok_runs])
    return row | {"status": "ok" if ok_runs else "undefined", "n_undefined": int((~ok).sum())}
