"""A feed-forward network in torch: two hidden layers with ReLU, as in the XAI report.

Trained with AdamW on mini-batches in a seeded order; the epoch with the lowest validation loss is kept. The loss is the binary
cross-entropy, or the squared error of a regression. On one CPU thread the weights are bit-equal for the same seed and data.
Cost: about 1 s for 1000 rows and 60 epochs.
"""

import numpy as np
import torch
from torch import Tensor, nn

from gradfaith import rng
from gradfaith.models.tabular.contract import Encoding, Matrix, TableModel, Tensors, TrainingTable

MODEL = TableModel(inside="network", limits=("width >= 1", "epochs >= 1", "lr > 0", "batch >= 1", "decay >= 0"))


def fit(
    data: TrainingTable, *, width: int = 32, epochs: int = 60, lr: float = 3e-3, batch: int = 64, decay: float = 0.05
) -> Tensors:
    """Return the weights. `width`: of each hidden layer; `decay`: of the weights."""
    generator = torch.Generator().manual_seed(rng.seed(data.seed, "feed-forward"))
    inputs, held = (_tensor(data.encoding.encode(rows)) for rows in (data.rows, data.validation_rows))
    target, held_target = _tensor(data.target), _tensor(data.validation_target)
    network = build(inputs.shape[1], width)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
            nn.init.zeros_(layer.bias)
    loss_of = nn.BCEWithLogitsLoss() if data.classification else nn.MSELoss()
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=decay)
    best, kept = float("inf"), _weights(network)
    for _ in range(epochs):
        for some in torch.split(torch.randperm(len(inputs), generator=generator), batch):
            optimiser.zero_grad()
            loss_of(network(inputs[some])[:, 0], target[some]).backward()
            optimiser.step()
        with torch.no_grad():
            loss = float(loss_of(network(held)[:, 0], held_target))
        if loss < best:
            best, kept = loss, _weights(network)
    return kept


def predict(tensors: Tensors, rows: Matrix, encoding: Encoding) -> Matrix:
    """Return the raw score of each row."""
    with torch.inference_mode():
        found: Matrix = network_of(tensors)(_tensor(encoding.encode(rows)))[:, 0].double().numpy()
    return found


def network_of(tensors: Tensors) -> nn.Sequential:
    """Return the network with these weights."""
    weights = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tensors.items()}
    network = build(weights["0.weight"].shape[1], weights["0.weight"].shape[0])
    network.load_state_dict(weights)
    return network.eval()


def build(inputs: int, width: int) -> nn.Sequential:
    """Return a network with random weights."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def _tensor(values: Matrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _weights(network: nn.Sequential) -> dict[str, np.ndarray]:
    return {name: values.detach().numpy().copy() for name, values in network.state_dict().items()}
