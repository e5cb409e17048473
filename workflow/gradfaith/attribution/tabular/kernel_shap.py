"""Kernel SHAP: Shapley values as a weighted linear fit to coalitions [lundberg2017].

    minimise   sum over S of w(|S|) (v(S) - v(nothing) - sum of phi_j, j in S)^2     with   sum of phi = f(x) - v(nothing)
    w(s) = (d - 1) / (C(d, s) s (d - s))

If `samples` is enough for all 2^d - 2 coalitions, all are used, and the result is exact. Else sizes are drawn by the kernel, and
each coalition comes with its complement, which halves the error of a sample. The constraint holds exactly, as in the package
`shap`, with which the result agrees (tests/cross/test_tabular_peers.py); captum's KernelShap gives it a large weight instead.
Cost: `samples` coalitions per row.
"""

from math import comb

import numpy as np
from numpy.typing import NDArray

from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(additive=True, draws=True, limits=("samples >= 10",))


def attribute(given: ExplainedRows, *, samples: int = 256) -> Matrix:
    """Return estimated Shapley values. `samples`: coalitions per row."""
    d, found = given.features, np.zeros(given.rows.shape)
    if d == 1:
        return given.model.answers(given.rows)[:, None] - given.mean_answer()
    base, answers = given.mean_answer(), given.model.answers(given.rows)
    for place, row in enumerate(given.rows):
        masks, weight = _all(d) if 2**d - 2 <= samples else _sampled(d, samples, given.draw(place))
        gains = given.coalition_values(row, masks) - base
        found[place] = _constrained_fit(masks.astype(np.float64), gains, weight, answers[place] - base)
    return found


def _kernel(d: int) -> Matrix:
    """Return the weight of one coalition of each size from 1 to d - 1."""
    return np.array([(d - 1) / (comb(d, s) * s * (d - s)) for s in range(1, d)])


def _all(d: int) -> tuple[NDArray[np.bool_], Matrix]:
    masks = (np.arange(1, 2**d - 1)[:, None] >> np.arange(d)) & 1 == 1
    return masks, _kernel(d)[masks.sum(axis=1) - 1]


def _sampled(d: int, samples: int, random: np.random.Generator) -> tuple[NDArray[np.bool_], Matrix]:
    """Return coalitions drawn by the kernel, each with its complement, and equal weights."""
    share = _kernel(d) * [comb(d, s) for s in range(1, d)]
    sizes = random.choice(np.arange(1, d), size=samples // 2, p=share / share.sum())
    order = random.random((len(sizes), d)).argsort(axis=1).argsort(axis=1)
    masks = order < sizes[:, None]
    both = np.concatenate([masks, ~masks])
    return both, np.ones(len(both))


def _constrained_fit(masks: Matrix, gains: Matrix, weight: Matrix, total: float) -> Matrix:
    """Return the weighted least squares fit whose numbers add up to `total`: the last one is eliminated."""
    rest = masks[:, :-1] - masks[:, -1:]
    root = np.sqrt(weight)[:, None]
    fit = np.linalg.lstsq(root * rest, root[:, 0] * (gains - masks[:, -1] * total), rcond=None)[0]
    return np.append(fit, total - fit.sum())
