"""Exact correlation: how the numbers of a row follow the model's enumerated Shapley values, with their signs.

    Pearson's correlation over the features

It separates the method from the model: an exact method has 1 on any model, however wrong the model is. Needs `exact_shapley`
among the study's methods.
"""

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric, correlate_rows

TABLE_METRIC = TabularMetric(better="higher", bounds=(-1, 1), needs=("exact",))


def score(on: JudgedRows) -> Matrix:
    """Return the correlation of each row."""
    assert on.exact is not None  # declared
    return correlate_rows(on.attribution, on.exact)
