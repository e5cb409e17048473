"""LIME for tables: a weighted linear fit to perturbed rows, with one switch per feature [ribeiro2016].

    switch 1: the feature is in the row's quartile (numbers), or has the row's category;   switch 0: it is elsewhere
    weight = sqrt(exp(-switches off / (width^2 d)))                                        the package's exponential kernel
    attribution = coefficients of a ridge regression of the answers on the switches, ridge 1

Perturbed rows draw a quartile by its frequency in the training part, then a value from the normal distribution of that quartile,
cut at its ends; a category is drawn by its frequency. This is the default of the package `lime` (0.75 sqrt(d), 5000 samples,
quartiles), without its selection of ten features; it agrees with the package within the sampling error
(tests/cross/test_tabular_peers.py). The ridge and a narrow kernel shrink all numbers, and the numbers do not add up to the
answer. Cost: `samples` answers per row.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import truncnorm

from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(draws=True, limits=("samples >= 20", "width > 0", "ridge > 0"))


def attribute(given: ExplainedRows, *, samples: int = 1000, width: float = 0.75, ridge: float = 1.0) -> Matrix:
    """Return the coefficients of the local fit. `width`: of the kernel, times the square root of the number of features."""
    bins = [_Bins(given.training[:, feature], category=given.is_category(feature)) for feature in range(given.features)]
    found = np.zeros(given.rows.shape)
    for place, row in enumerate(given.rows):
        random = given.draw(place)
        perturbed, switches = np.empty((samples, given.features)), np.empty((samples, given.features))
        for feature, own in enumerate(bins):
            drawn, perturbed[:, feature] = own.draw(samples, random)
            switches[:, feature] = drawn == own.of(row[feature])
        perturbed[0], switches[0] = row, 1.0  # the row itself comes first, as in the package
        off = given.features - switches.sum(axis=1)
        weight = np.sqrt(np.exp(-off / (width**2 * given.features)))
        found[place] = _weighted_ridge(switches, given.model.answers(perturbed), weight, ridge)
    return found


def _weighted_ridge(switches: Matrix, answers: Matrix, weight: Matrix, ridge: float) -> Matrix:
    """Return the coefficients of a weighted ridge regression with a free constant."""
    total = weight.sum()
    centred = switches - (weight[:, None] * switches).sum(axis=0) / total
    rest = answers - (weight * answers).sum() / total
    gram = centred.T @ (weight[:, None] * centred) + ridge * np.eye(switches.shape[1])
    return np.asarray(np.linalg.solve(gram, centred.T @ (weight * rest)))


class _Bins:
    """The quartiles of a number, or the categories, with the frequency of each in the training part."""

    def __init__(self, values: Matrix, *, category: bool) -> None:
        self.category = category
        self.edges = np.array([]) if category else np.unique(np.quantile(values, (0.25, 0.5, 0.75)))
        place = self.of(values)
        self.names, counts = np.unique(place, return_counts=True)
        self.frequency = counts / counts.sum()
        inside = [values[place == name] for name in self.names]
        self.mean, self.deviation = (np.array([getattr(own, word)() for own in inside]) for word in ("mean", "std"))
        self.low, self.high = (np.array([getattr(own, word)() for own in inside]) for word in ("min", "max"))

    def of(self, values: Matrix) -> NDArray[np.int64]:
        """Return the bin of each value."""
        return (
            np.asarray(values).astype(np.int64) if self.category else np.searchsorted(self.edges, values, side="left")
        )

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[np.int64], Matrix]:
        """Return the bins and values of `count` draws."""
        place = random.choice(len(self.names), size=count, p=self.frequency)
        if self.category:
            return self.names[place], self.names[place].astype(np.float64)
        deviation = np.maximum(self.deviation, 1e-12)
        low, high = (self.low - self.mean) / deviation, (self.high - self.mean) / deviation
        unit = truncnorm.ppf(random.random(count), low[place], np.maximum(high, low + 1e-9)[place])
        return self.names[place], np.clip(self.mean[place] + deviation[place] * unit, self.low[place], self.high[place])
