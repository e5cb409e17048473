"""Score-CAM: the weight of a channel is the score of the image masked by it.

    map = relu( sum_k w_k * a_k ),   w = softmax_k S( x * m_k ),   m_k: channel k, enlarged and scaled to [0, 1]    [wang2020]

The softmax over channels depends on the scale of the score; a baseline score would cancel in it. A constant channel has no
mask, so its weight is zero. `channels: 0` uses all channels, as in the paper. A number uses only the channels that vary most
over the grid; this shortcut is ours, and is recorded with the map's options.
Cost: one forward for each channel.
"""

import torch
from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, Method, Tap
from gradfaith.metrics.maps.evaluate import resize

METHOD = Method(
    needs=("layer", "image"), grid="native", signed=False, forwards="channels", cite="wang2020",
    differs="a constant channel is left out of the softmax; channels > 0 asks only the most varied ones",
    limits=("channels >= 0",),
)  # fmt: skip


def attribute(tap: Tap, inputs: ImageInputs, *, channels: int = 0) -> Tensor:  # (n, h, w)
    varied = tap.activation.amax(dim=(2, 3)) - tap.activation.amin(dim=(2, 3))  # (n, c)
    count = min(channels or varied.shape[1], varied.shape[1])
    chosen = tap.activation.std(dim=(2, 3)).topk(count, dim=1).indices.sort(dim=1).values  # (n, count)
    rows = torch.arange(len(chosen), device=chosen.device).repeat_interleave(count)
    flat = chosen.flatten()

    def masked(some: slice) -> Tensor:  # (m, c, h, w)
        masks: Tensor = resize(tap.activation[rows[some], flat[some]], (inputs.images.shape[2], inputs.images.shape[3]))
        low, high = masks.amin(dim=(1, 2), keepdim=True), masks.amax(dim=(1, 2), keepdim=True)
        unit = (masks - low) / (high - low).clamp(min=torch.finfo(masks.dtype).tiny)
        return inputs.images[rows[some]] * unit[:, None]

    scores = inputs.scores(masked, rows).reshape(len(chosen), count).to(tap.activation.dtype)
    silent = varied.gather(1, chosen) <= 0
    weights: Tensor = scores.masked_fill(silent, -torch.inf).softmax(dim=1)
    weights = weights.masked_fill(silent.all(dim=1, keepdim=True), 0)
    picked = tap.activation.gather(1, chosen[:, :, None, None].expand(-1, -1, *tap.activation.shape[2:]))
    return (weights[:, :, None, None] * picked).sum(dim=1).relu()
