"""Control: the variance of each feature in the training part, the same for every row.

A number's variance is in its own unit, so an income in dollars comes before an age in years. A category's is that of its code.
"""

import numpy as np

from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(control=True)


def attribute(given: ExplainedRows) -> Matrix:
    """Return the variances."""
    return np.broadcast_to(given.training.var(axis=0), given.rows.shape).copy()
