"""Additivity error: how far the numbers of a row are from adding up to its answer minus the mean answer.

    | sum of phi_j - (f(x) - v(nothing)) |      on the scale of the answers

Only for methods that promise it. Exact methods have rounding errors only.
"""

import numpy as np

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric

TABLE_METRIC = TabularMetric(better="lower", bounds=(0, None), additive=True)


def score(on: JudgedRows) -> Matrix:
    """Return the error of each row."""
    return np.asarray(np.abs(on.attribution.sum(axis=1) - (on.answers(on.rows) - on.mean_answer)))
