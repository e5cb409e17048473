"""Removal gap: do the features that a method puts first change the answer more than those that it puts last?

    gap = mean over shares q of (a - b) / (a + b)
    a = |f(x) - f(x without its first q d features)|,   b = the same without its last q d features

Between -1 and 1; an order without information has 0 in the mean. The idea is that of Faith and of the MoRF and LeRF curves for
images. Undefined where neither removal changes the answer. Cost: two removals per share.
"""

import numpy as np

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric

TABLE_METRIC = TabularMetric(better="higher", bounds=(-1, 1), imputed=True, limits=("0 < shares <= 0.5",))


def score(on: JudgedRows, *, shares: tuple[float, ...] = (0.25, 0.5)) -> Matrix:
    """Return the gap of each row. `shares`: of the features that are removed at either end."""
    order, own = on.importance_order(), on.answers(on.rows)
    place = np.argsort(order, axis=1)  # (n, d): the rank of each feature
    d, gaps = on.rows.shape[1], []
    for share in shares:
        count = max(1, round(share * d))
        a, b = (np.abs(own - on.answers_without(chosen)) for chosen in (place < count, place >= d - count))
        with np.errstate(invalid="ignore", divide="ignore"):
            gaps.append(np.where(a + b > 1e-12, (a - b) / (a + b), np.nan))
    return np.asarray(np.mean(gaps, axis=0))
