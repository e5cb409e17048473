"""Eigen-CAM: the first principal direction of the activations, independent of the class.

    map = A v_1,   A = U S V^T,   A: positions x channels, not centred                      [muhammad2020]

It uses no gradient and no class. It shows where the layer has large activations, so it is a baseline for methods that claim
to explain a prediction. The sign of a singular vector is arbitrary; we choose the one with a positive sum, which is the sign
of non-negative activations. The vector is computed from the smaller Gram matrix, of the positions or of the channels.
Signed. Cost: the forward that the bundle shares.
"""

import torch
from torch import Tensor

from gradfaith.attribution.contract import Method, Tap

METHOD = Method(
    needs=("layer",),
    grid="native",
    signed=True,
    targeted=False,
    cite="muhammad2020",
    differs="the sign is fixed: the map sums to a positive number",
)


def attribute(tap: Tap) -> Tensor:  # (n, h, w)
    device = tap.activation.device
    home = torch.device("cpu") if device.type == "mps" else device  # mps has no double precision
    rows = tap.activation.flatten(2).transpose(1, 2).to(home).double()  # (n, h w, c)
    if rows.shape[1] <= rows.shape[2]:
        values, vectors = torch.linalg.eigh(rows @ rows.transpose(1, 2))
        map_ = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()  # (n, h w): A v_1 = s_1 u_1
    else:
        _, vectors = torch.linalg.eigh(rows.transpose(1, 2) @ rows)
        map_ = (rows @ vectors[:, :, -1:])[:, :, 0]
    sign = torch.where(map_.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    signed: Tensor = (sign * map_).reshape(len(rows), *tap.activation.shape[2:])
    return signed.to(device, tap.activation.dtype)
