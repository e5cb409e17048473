"""Control: how unusual each value is, as its distance from the training mean in standard deviations.

It reads the row but not the model. For a linear model with equal weights it would be right; noise features get as much.
"""

from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(control=True)


def attribute(given: ExplainedRows) -> Matrix:
    """Return the standardised values, with their sign."""
    encoding = given.model.encoding
    return (given.rows - encoding.mean) / encoding.deviation
