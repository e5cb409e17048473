"""Temperature scaling: one number, fitted on validation, that makes probabilities mean what they say.

    p = softmax(logits / T),   T = argmin of the validation images' mean negative log-likelihood          [guo2017]

The ranking of the classes does not change, so no map and no decision does. The likelihood is convex in 1 / T, hence one
minimum: it is searched by bounded Brent steps on log T, the same every time. Where every validation image is right by
any margin the optimum is T = 0, an empty promise of certainty; the lower bound stops there, and a T on a bound is to
be read as "validation was too easy, or too small, to say". Raw probabilities are kept beside the calibrated ones.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

LOWEST, HIGHEST = 0.1, 10.0


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature for validation `logits` (n, k) and class numbers `labels` (n,)."""
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)

    def loss(log_t: float) -> float:
        return float(-log_softmax(scores / np.exp(log_t), axis=1)[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def probabilities(logits: ArrayLike, t: float = 1.0) -> NDArray[np.float64]:
    """Class probabilities (n, k) at temperature `t`."""
    result: NDArray[np.float64] = softmax(np.asarray(logits, dtype=np.float64) / t, axis=1)
    return result
