"""Seed agreement: do models that differ in their training seed give the same numbers for a row?

    Spearman's rank correlation over the features, with signs, for every pair of seeds
    chance level: the same between different rows of one class, of the two models

The chance level matters: a method that puts the same feature first on every row agrees with itself without reading the model.
"""

from gradfaith.metrics.tabular.contract import JudgedRows, Matrix, TabularMetric, correlate_rows, rank

TABLE_METRIC = TabularMetric(better="higher", bounds=(-1, 1), between="models")


def score(on: JudgedRows, other: Matrix) -> Matrix:
    """Return the agreement of each row with `other`, the attributions of the same rows or of their partners."""
    return correlate_rows(rank(on.attribution), rank(other))
