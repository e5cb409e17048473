"""Repeat agreement: does a method give the same numbers for the same row and model when it draws other random numbers?

Spearman's rank correlation over the features, with signs, between two runs; 1 for a method that draws nothing
"""

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric, correlate_rows, rank

TABLE_METRIC = TabularMetric(better="higher", bounds=(-1, 1), between="runs")


def score(on: JudgedRows, other: Matrix) -> Matrix:
    """Return the agreement of each row with `other`, the second run of the method."""
    return correlate_rows(rank(on.attribution), rank(other))
