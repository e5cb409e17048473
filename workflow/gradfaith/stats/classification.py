"""What a confusion matrix and a ranking say about each class, for a whole part and for that part without each group.

    sensitivity = recall = TP / (TP + FN)     specificity = TN / (TN + FP)     precision = TP / (TP + FP)
    F1 = 2 TP / (2 TP + FP + FN)              AUROC = P(a positive scores above a negative), ties half

Rows of a confusion matrix are true classes, columns predicted ones; a denominator of zero gives NaN, which the table turns
into "undefined", never a 0. Everything is exact and batched: a matrix without a group is the difference of two counts, and
the AUROC's wins come from one sort and are then taken away group by group. Cost: O(n log n) per class.

How well each architecture classifies, with intervals over patients: Table I of the paper, by class and as macro means.

    macro X = mean over classes of X      balanced accuracy = macro sensitivity = macro recall      AUROC: one against rest

The paper's rows fit these readings (its sensitivity equals its recall; its F1 is a mean of the classes' own). A number is
computed per seed and averaged over seeds. These are ratios, so the interval comes from leaving each group out
(stats/intervals.py): a cluster-robust t like that of the scores; a macro mean loses k - 1 degrees of freedom to its k class
means. A rate that has no value (a class never predicted has no precision) is "undefined" and makes its macro mean so; the
mean is then over the seeds that have one, and n_undefined counts the others. Where every group gives the same number (all
correct) there is no spread to build an interval on, so none is printed: one without width would promise perfection.

n_images and n_groups are those the number rests on; for a class's AUROC, those of the class. Cost: milliseconds per model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.errors import BrokenTable
from gradfaith.stats.intervals import HOUSE, Floats, Rule, Run, from_jackknife, nothing

Codes = NDArray[np.int64]


def true_positives(matrix: Floats) -> Floats:  # (..., k, k) -> (..., k)
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def of_class(matrix: Floats) -> Floats:  # images of the class
    return np.asarray(matrix.sum(axis=-1))


def as_class(matrix: Floats) -> Floats:  # images predicted as the class
    return np.asarray(matrix.sum(axis=-2))


def of_another(matrix: Floats) -> Floats:
    return np.asarray(matrix.sum(axis=(-2, -1))[..., None] - of_class(matrix))


def of_or_as_class(matrix: Floats) -> Floats:
    return of_class(matrix) + as_class(matrix) - true_positives(matrix)


def sensitivity(matrix: Floats) -> Floats:
    return _ratio(true_positives(matrix), of_class(matrix))


def specificity(matrix: Floats) -> Floats:
    return _ratio(of_another(matrix) - as_class(matrix) + true_positives(matrix), of_another(matrix))


def precision(matrix: Floats) -> Floats:
    return _ratio(true_positives(matrix), as_class(matrix))


def f1(matrix: Floats) -> Floats:
    return _ratio(2 * true_positives(matrix), of_class(matrix) + as_class(matrix))


def accuracy(matrix: Floats) -> Floats:  # (..., k, k) -> (...)
    return _ratio(true_positives(matrix).sum(axis=-1), matrix.sum(axis=(-2, -1)))


Rate = Callable[[Floats], Floats]
# A rate, and the images it rests on: their share in a group is that group's pull.
RATES: Mapping[str, tuple[Rate, Rate]] = {
    "sensitivity": (sensitivity, of_class),
    "specificity": (specificity, of_another),
    "precision": (precision, as_class),
    "recall": (sensitivity, of_class),
    "f1": (f1, of_or_as_class),
}


def matrices(label: Codes, predicted: Codes, group: Codes, shape: tuple[int, int]) -> Floats:  # (g, k, k)
    """The confusion matrix of every group; `shape`: groups, classes."""
    g, k = shape
    return np.bincount((group * k + label) * k + predicted, minlength=g * k * k).astype(np.float64).reshape(g, k, k)


def auroc(score: Floats, positive: NDArray[np.bool_], group: Codes, groups: int) -> tuple[float, Floats]:
    """The AUROC of one class, and what it is without each group (g)."""
    above, below = np.sort(score[~positive]), np.sort(score[positive])
    wins = _rank(above, score[positive])  # negatives that each positive beats
    losses = len(below) - _rank(below, score[~positive])  # positives that beat each negative
    own, other = group[positive], group[~positive]
    won = np.bincount(own, wins, groups) + np.bincount(other, losses, groups)
    for both in np.intersect1d(own, other):  # pairs within a group were taken away twice
        won[both] -= _rank(np.sort(score[~positive & (group == both)]), score[positive & (group == both)]).sum()
    pairs = (len(own) - np.bincount(own, minlength=groups)) * (len(other) - np.bincount(other, minlength=groups))
    whole = _ratio(np.asarray(wins.sum()), np.asarray(float(len(own) * len(other))))
    return float(whole), _ratio(wins.sum() - won, pairs.astype(np.float64))


def _rank(ordered: Floats, score: Floats) -> Floats:
    return (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))


MACRO = "macro"
NO_SPREAD = "the same without any one group: no spread to build an interval on"
FOUND = ("value", "low", "high", "se", "df", "n_images", "n_groups", "n_seeds", "seeds", "interval", "reason")
COLUMNS = ("arch", "metric", "class", *FOUND, "status", "n_undefined")


def classification(
    predictions: pd.DataFrame, classes: Sequence[str], part: str = "test", rule: Rule = HOUSE
) -> pd.DataFrame:
    """One row per architecture, metric and class ("macro" for all of them), over the seeds in `predictions`."""
    table, rows = _part(predictions, classes, part), []
    for arch, own in table.groupby("arch", sort=False, observed=True):
        runs: list[Run] = [(seed,) for seed in own["seed"].unique()]
        for number in _numbers(own, list(classes)):
            rows.append({"arch": arch, "metric": number.metric, "class": number.of, **_row(number, runs, rule)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def confusion(predictions: pd.DataFrame, classes: Sequence[str], part: str = "test") -> pd.DataFrame:
    """Confusion matrices, summed over seeds: arch, label, predicted, n, and n's share of the label."""
    table = _part(predictions, classes, part)
    pairs = pd.MultiIndex.from_product([table["arch"].unique(), classes, classes], names=["arch", "label", "predicted"])
    found = (
        table.groupby(["arch", "label", "predicted"], observed=True)
        .size()
        .reindex(pairs, fill_value=0)
        .reset_index(name="n")
    )
    totals = found.groupby(["arch", "label"], sort=False)["n"].transform("sum")
    return found.assign(share=found["n"] / totals.where(totals > 0))


@dataclass(frozen=True)
class _Number:
    """One metric of one class, per seed and without each group."""

    metric: str
    of: str
    theta: Floats  # (r)
    left: Floats  # (g, r): the number without the group
    weight: Floats  # (g, r): images it rests on, or their share
    n_images: int
    lost: int


def _part(predictions: pd.DataFrame, classes: Sequence[str], part: str) -> pd.DataFrame:
    table = predictions[predictions["part"] == part]
    strange = (set(table["label"]) | set(table["predicted"])) - set(classes)
    twice = table.duplicated(["arch", "seed", "image_id"]).any()
    if table.empty or strange or twice:
        what = (
            f"classes {sorted(strange)}"
            if strange
            else "an image twice for one model"
            if twice
            else f"no image of part {part!r}"
        )
        raise BrokenTable(
            found=f"The predictions hold {what}; the classes are {', '.join(classes)}.",
            why="Rates are shares of the images of one part, each counted once per model and under a class of the study.",
            then="Remake the predictions from the study's manifest and split.",
        )
    return table


def _numbers(table: pd.DataFrame, classes: list[str]) -> Iterator[_Number]:
    """Every metric of one architecture."""
    group, names = pd.factorize(table["group"])
    run = pd.factorize(table["seed"])[0]
    label, predicted = (
        pd.Index(classes).get_indexer(pd.Index(table[column])).astype(np.int64) for column in ("label", "predicted")
    )
    shape = (len(names), len(classes))
    models = [np.flatnonzero(run == code) for code in range(run.max() + 1)]
    own = np.stack([matrices(label[at], predicted[at], group[at], shape) for at in models], axis=1)  # (g, r, k, k)
    whole = own.sum(axis=0)
    images = own.sum(axis=(2, 3))
    n = int(images.sum(axis=0).max())
    yield _Number(
        "accuracy",
        MACRO,
        accuracy(whole),
        accuracy(whole - own),
        images,
        n,
        lost=0,
    )
    balanced = (
        sensitivity(whole),
        sensitivity(whole - own),
        of_class(own),
    )
    yield _macro("balanced_accuracy", *balanced, n)
    for metric, (rate, basis) in RATES.items():
        yield from _by_class(metric, classes, rate(whole), rate(whole - own), basis(own), n)
    columns = [f"probability_{name}" for name in classes]
    if set(columns) <= set(table):
        scores = table[columns].to_numpy(np.float64)
        theta, left = _auroc(scores, label, group, models, shape)
        yield from _by_class("auroc", classes, theta, left, of_class(own), n)


def _auroc(
    scores: Floats,
    label: Codes,
    group: Codes,
    models: list[NDArray[np.int64]],
    shape: tuple[int, int],
) -> tuple[Floats, Floats]:
    """Per seed and class (r, k), and without each group (g, r, k)."""
    found = [[auroc(scores[at, k], label[at] == k, group[at], shape[0]) for k in range(shape[1])] for at in models]
    theta = np.array([[whole for whole, _ in row] for row in found])
    return theta, np.moveaxis(np.array([[left for _, left in row] for row in found]), 2, 0)


def _by_class(
    metric: str, classes: list[str], theta: Floats, left: Floats, weight: Floats, n: int
) -> Iterator[_Number]:
    """theta (r, k), left and weight (g, r, k): the macro mean, then class by class."""
    yield _macro(metric, theta, left, weight, n)
    for k, name in enumerate(classes):
        rests_on = int(weight[..., k].sum(axis=0).max())
        yield _Number(metric, name, theta[:, k], left[..., k], weight[..., k], rests_on, lost=0)


def _macro(metric: str, theta: Floats, left: Floats, weight: Floats, n: int) -> _Number:
    pull = (weight / np.maximum(weight.sum(axis=0), 1)).mean(axis=-1)
    return _Number(metric, MACRO, theta.mean(axis=-1), left.mean(axis=-1), pull, n, lost=theta.shape[-1] - 1)


def _row(number: _Number, runs: list[Run], rule: Rule) -> dict[str, object]:
    ok = np.isfinite(number.theta)
    found = nothing("the formula has no value here", number.n_images)
    there = [run for run, good in zip(runs, ok, strict=True) if good]
    if there:
        weight, left = number.weight[:, ok], number.left[:, ok]
        shares = (weight / weight.sum(axis=0)).mean(axis=1)
        found = from_jackknife(
            number.theta[ok], left - number.theta[ok], shares, there, present=weight > 0, n_images=number.n_images,
            lost=number.lost, rule=rule,
        )  # fmt: skip
        if found.se == 0:
            found = replace(found, low=np.nan, high=np.nan, interval="", reason=NO_SPREAD)
    numbers = (found.mean, found.low, found.high, found.se, found.df, found.n_images, found.n_groups, found.n_seeds)
    row = dict(
        zip(FOUND, (*numbers, " ".join(str(seed) for (seed,) in there), found.interval, found.reason), strict=True)
    )
    return row | {"status": "ok" if there else "undefined", "n_undefined": int((~ok).sum())}
