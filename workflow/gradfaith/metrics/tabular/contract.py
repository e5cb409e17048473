"""Define what a metric of attributions to features is, and remove features from rows through imputers.

    TABLE_METRIC = TabularMetric(better="higher", bounds=(-1, 1), imputed=True)
    def score(on: JudgedRows, *, <options>) -> Matrix      one number per row; NaN where the formula has no value

    mean          removed features become the training part's mean, or its most frequent category
    marginal      they are drawn from random training rows: independent of what stays
    conditional   they are taken from the training rows that are nearest in what stays, so correlations are kept

A removed feature is never zero: zero is a value like any other. `marginal` and `conditional` answer with the mean over DRAWS rows.
If two features are correlated, `marginal` makes rows that do not exist, and `conditional` lets a correlated feature replace the
removed one: both numbers are shown, because neither is the truth alone. Cost: DRAWS answers per row and set of features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradfaith.metrics.contract import Better
from gradfaith.vocabulary import TableImputer

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
DRAWS = 10


@dataclass(frozen=True)
class TabularMetric:
    """The declaration of a metric.

    `imputed`: it removes features, and so has one variant per imputer; `needs`: `truth` (the planted importance of every
    feature) or `exact` (enumerated Shapley values); without it the metric has no rows. `additive`: only for methods whose
    numbers add up. `between`: it compares two attributions of a row, of two models or two runs, instead of judging one.
    """

    better: Better
    bounds: tuple[float | None, float | None]
    imputed: bool = False
    needs: tuple[Literal["truth", "exact"], ...] = ()
    additive: bool = False
    between: Literal["", "models", "runs"] = ""
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureImputer:
    """Fills removed features of rows from the training part."""

    kind: TableImputer
    training: Matrix  # (m, d)
    categories: tuple[int, ...]

    def fill(
        self, rows: Matrix, removed: Mask, random: np.random.Generator
    ) -> Matrix:  # (n, d), (n, d) -> (draws, n, d)
        """Return the rows with other values where `removed`; several times for imputers that draw."""
        if self.kind == "mean":
            return np.asarray(np.where(removed, self._centre, rows)[None])
        nearest = self.kind == "conditional"
        anyone = random.integers(len(self.training), size=(DRAWS, len(rows)))
        chosen = self._neighbours(rows, removed).T if nearest else anyone
        return np.asarray(np.where(removed, self.training[chosen], rows))

    @property
    def _centre(self) -> Matrix:
        centre: Matrix = self.training.mean(axis=0)
        for feature, count in enumerate(self.categories):
            if count:
                centre[feature] = np.bincount(self.training[:, feature].astype(np.int64)).argmax()
        return centre

    def _neighbours(self, rows: Matrix, removed: Mask) -> NDArray[np.int64]:  # (n, draws)
        """Return the nearest training rows of each row by the features that stay; a different category counts as one deviation."""
        deviation = self.training.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        far = np.zeros((len(rows), len(self.training)))
        for feature, count in enumerate(self.categories):
            own, others = rows[:, feature, None], self.training[None, :, feature]
            apart = (own != others).astype(np.float64) if count else ((own - others) / scale[feature]) ** 2
            far += np.where(removed[:, feature, None], 0.0, apart)
        most = min(DRAWS, len(self.training))
        return np.asarray(np.argsort(far, axis=1, kind="stable")[:, :most])


@dataclass(frozen=True)
class JudgedRows:
    """What a metric gets: attributions of some rows, and what it needs to judge them."""

    attribution: Matrix  # (n, d)
    rows: Matrix
    answers: Callable[[Matrix], Matrix]  # rows -> the scores that were explained
    mean_answer: float
    imputer: FeatureImputer
    draw: Callable[[int], np.random.Generator]  # row -> its random generator
    truth: Matrix | None = None  # (n, d): the planted importance
    exact: Matrix | None = None  # (n, d): enumerated Shapley values of the same model

    def answers_without(self, removed: Mask) -> Matrix:  # (n, d) -> (n,)
        """Return the answer of every row without some features: the mean over the imputer's draws."""
        filled = self.imputer.fill(self.rows, removed, self.draw(0))
        shape = filled.shape[:2]
        return np.asarray(self.answers(filled.reshape(-1, filled.shape[2])).reshape(shape).mean(axis=0))

    def importance_order(self) -> NDArray[np.int64]:  # (n, d)
        """Return the features of every row from most to least important by size; equal ones in a random order."""
        size = np.abs(self.attribution)
        ties = np.stack([self.draw(row).random(size.shape[1]) for row in range(len(size))])
        return np.lexsort((ties, -size), axis=1)


def rank(values: Matrix) -> Matrix:  # (n, d) -> (n, d)
    """Return average ranks along each row."""
    below = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.asarray(below + (equal - 1) / 2, dtype=np.float64)


def correlate_rows(first: Matrix, second: Matrix) -> Matrix:  # (n, d), (n, d) -> (n,)
    """Return Pearson's correlation of each pair of rows; NaN where one is constant."""
    parts = [one - one.mean(axis=1, keepdims=True) for one in (first, second)]
    scale = np.sqrt((parts[0] ** 2).sum(axis=1) * (parts[1] ** 2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(scale > 1e-12, (parts[0] * parts[1]).sum(axis=1) / scale, np.nan)
    return np.asarray(np.clip(found, -1, 1))
