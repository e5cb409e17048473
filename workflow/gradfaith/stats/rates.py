"""What a confusion matrix and a ranking say about each class, for a whole part and for that part without each group.

    sensitivity = recall = TP / (TP + FN)     specificity = TN / (TN + FP)     precision = TP / (TP + FP)
    F1 = 2 TP / (2 TP + FP + FN)              AUROC = P(a positive scores above a negative), ties half

Rows of a confusion matrix are true classes, columns predicted ones; a denominator of zero gives NaN, which the table turns
into "undefined", never a 0. Everything is exact and batched: a matrix without a group is the difference of two counts, and
the AUROC's wins come from one sort and are then taken away group by group. Cost: O(n log n) per class.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gradfaith.stats.jackknife import Floats

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
