"""Truth AUC: do the features that the planted function uses come before those that it does not use?

    share of pairs (used feature, unused feature) in which the used one has the larger number, by size; ties count half

By chance 0.5. A feature is used if its planted importance is not zero for any explained row. It judges model and method together: a
model that uses a correlated feature instead gets a low value too. Needs a table whose truth is known.
"""

import numpy as np

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric, rank

TABLE_METRIC = TabularMetric(better="higher", bounds=(0, 1), needs=("truth",))


def score(on: JudgedRows) -> Matrix:
    """Return the AUC of each row; NaN if all features are used, or none is."""
    assert on.truth is not None  # declared
    used = (np.abs(on.truth) > 1e-9).any(axis=0)
    many, few = int(used.sum()), int((~used).sum())
    if not many or not few:
        return np.full(len(on.rows), np.nan)
    ranks = rank(np.abs(on.attribution))
    return np.asarray((ranks[:, used].sum(axis=1) - many * (many - 1) / 2) / (many * few))
