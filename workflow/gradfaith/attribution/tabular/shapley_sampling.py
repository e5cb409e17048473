"""Shapley values from sampled orders of the features [castro2009], by captum.

Features join the coalition in a random order, and each gets the change that it makes; the mean over `orders` is unbiased, and adds
up exactly. captum's ShapleyValueSampling explains the function "coalition -> mean answer over the background". Cost: `orders`
times the features, per row.
"""

import numpy as np
import torch

from gradfaith.attribution.support.captum_adapter import captum_class, seeded_by
from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(additive=True, draws=True, limits=("orders >= 1",))


def attribute(given: ExplainedRows, *, orders: int = 25) -> Matrix:
    """Return estimated Shapley values. `orders`: random orders per row."""
    found = np.zeros(given.rows.shape)
    on = torch.ones(1, given.features)
    for place, row in enumerate(given.rows):

        def values(switches: torch.Tensor, row: Matrix = row) -> torch.Tensor:
            return torch.from_numpy(given.coalition_values(row, switches.numpy() > 0.5))

        generator = torch.Generator().manual_seed(int(given.draw(place).integers(2**31)))
        with seeded_by(generator, torch.device("cpu")):
            method = captum_class("ShapleyValueSampling")(values)
            result = method.attribute(on, baselines=0 * on, n_samples=orders, perturbations_per_eval=given.features)
        found[place] = result[0].double().numpy()
    return found
