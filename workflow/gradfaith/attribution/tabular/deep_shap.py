"""Deep SHAP: DeepLIFT's rescale rule, averaged over the background rows as baselines [lundberg2017], by captum.

Approximates Shapley values of a network in one backward pass per background row; with ReLU it is not exact. The numbers of a
category's encoded columns are added. Cost: one pass per pair of a row and a background row.
"""

import warnings

import numpy as np
import torch

from gradfaith.attribution.support.captum_adapter import captum_class
from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.models.tabular.contract import Matrix
from gradfaith.models.tabular.feed_forward import network_of

METHOD = TabularMethod(additive=True, inside="network")


def attribute(given: ExplainedRows) -> Matrix:
    """Return Deep SHAP's numbers, on the scale of the answers."""
    model = given.model
    network = network_of(model.tensors).double()
    if model.scale == "probability":
        network = torch.nn.Sequential(network, torch.nn.Sigmoid())
    inputs, baselines = (
        torch.from_numpy(model.encoding.encode(rows)).requires_grad_() for rows in (given.rows, given.background)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting ")  # that captum sets hooks
        found = captum_class("DeepLiftShap")(network).attribute(inputs, baselines=baselines, target=0)
    columns = found.detach().numpy() * model.factor
    owner = model.encoding.owner
    return np.stack([columns[:, owner == feature].sum(axis=1) for feature in range(given.features)], axis=1)
