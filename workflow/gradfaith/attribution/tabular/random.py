"""Control: standard normal numbers, without the model and without the row."""

import numpy as np

from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(control=True, draws=True)


def attribute(given: ExplainedRows) -> Matrix:
    """Return random numbers."""
    return np.stack([given.draw(place).normal(size=given.features) for place in range(len(given.rows))])
