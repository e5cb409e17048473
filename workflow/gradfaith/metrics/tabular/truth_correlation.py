"""Truth correlation: how the numbers of a row follow the exact Shapley values of the planted function, with their signs.

    Pearson's correlation over the features; 0 for numbers without information

Needs a table whose truth is known. The scale of the answers does not matter.
"""

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric, correlate_rows

TABLE_METRIC = TabularMetric(better="higher", bounds=(-1, 1), needs=("truth",))


def score(on: JudgedRows) -> Matrix:
    """Return the correlation of each row."""
    assert on.truth is not None  # declared
    return correlate_rows(on.attribution, on.truth)
