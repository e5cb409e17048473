"""Temperature scaling: one number, fitted on validation, that makes probabilities mean what they say.

    p = softmax(logits / T),   T = argmin of the validation images' mean negative log-likelihood          [guo2017]

The ranking of the classes does not change, so no map and no decision does. The likelihood is convex in 1 / T, hence one
minimum: it is searched by bounded Brent steps on log T, the same every time. Where every validation image is right by
any margin the optimum is T = 0, an empty promise of certainty; the lower bound stops there, and a T on a bound is to
be read as "validation was too easy, or too small, to say". Raw probabilities are kept beside the calibrated ones.

Where classes are made of several outputs (models/build.py), T divides the outputs' logits, before they are put together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

LOWEST, HIGHEST = 0.1, 10.0


ClassMap = Sequence[Sequence[int]]


def temperature(outputs: ArrayLike, labels: ArrayLike, class_map: ClassMap = ()) -> float:
    """The temperature for validation logits `outputs` (n, k) and class numbers `labels` (n,)."""
    truth = np.asarray(labels)

    def loss(log_t: float) -> float:
        scores = logits(outputs, float(np.exp(log_t)), class_map)
        return float(-log_softmax(scores, axis=1)[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def logits(outputs: ArrayLike, t: float = 1.0, class_map: ClassMap = ()) -> NDArray[np.float64]:
    """One logit per class (n, classes) from those of the outputs (n, k), at temperature `t`."""
    scores = np.asarray(outputs, dtype=np.float64) / t
    return np.stack([logsumexp(scores[:, list(own)], axis=1) for own in class_map], axis=1) if class_map else scores


def probabilities(outputs: ArrayLike, t: float = 1.0, class_map: ClassMap = ()) -> NDArray[np.float64]:
    """Class probabilities (n, classes) at temperature `t`."""
    result: NDArray[np.float64] = softmax(logits(outputs, t, class_map), axis=1)
    return result
