"""Shapley values by enumeration: every coalition of features is asked, so there is no sampling error.

    phi_j = sum over S without j of |S|! (d - |S| - 1)! / d! (v(S + j) - v(S))

The reference for all other Shapley methods, and the exact reasons of a linear model or a tree. Source: [shapley1953]. Cost:
2^d coalitions per row, so at most 12 features.
"""

from math import factorial

import numpy as np

from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(additive=True, most_features=12)


def attribute(given: ExplainedRows) -> Matrix:
    """Return the exact Shapley values."""
    d = given.features
    codes = np.arange(2**d)
    masks = (codes[:, None] >> np.arange(d)) & 1 == 1
    size = masks.sum(axis=1)
    weight = np.array([factorial(s) * factorial(d - s - 1) / factorial(d) for s in range(d)])
    found = np.zeros(given.rows.shape)
    for place, row in enumerate(given.rows):
        values = given.coalition_values(row, masks)
        for feature in range(d):
            without = codes[~masks[:, feature]]
            gain = values[without | (1 << feature)] - values[without]
            found[place, feature] = (weight[size[without]] * gain).sum()
    return found
