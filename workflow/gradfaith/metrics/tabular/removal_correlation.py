"""Removal correlation: do the numbers of removed features add up to what their removal takes from the answer?

    correlation over random sets S of   sum of phi_j for j in S   with   f(x) - f(x without S)

This is the faithfulness correlation of [bhatt2020], with imputers for tables. It reads signs and sizes, not only the order. Sets
have every size from 1 to d - 1. Undefined where one side is constant. Cost: `sets` removals.
"""

import numpy as np

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric, correlate_rows

TABLE_METRIC = TabularMetric(better="higher", bounds=(-1, 1), imputed=True, limits=("sets >= 3",))


def score(on: JudgedRows, *, sets: int = 20) -> Matrix:
    """Return the correlation of each row. `sets`: random sets of features."""
    n, d = on.rows.shape
    own, sums, drops = on.answers(on.rows), np.empty((n, sets)), np.empty((n, sets))
    randoms = [on.draw(row) for row in range(n)]
    for number in range(sets):
        count = 1 + number % max(d - 1, 1)
        removed = np.zeros((n, d), dtype=bool)
        for row, random in enumerate(randoms):
            removed[row, random.permutation(d)[:count]] = True
        sums[:, number] = np.where(removed, on.attribution, 0).sum(axis=1)
        drops[:, number] = own - on.answers_without(removed)
    return correlate_rows(sums, drops)
