"""DeepLIFT as the literature applies it: captum's, on any network.

    map = sum_k m_k * (x_k - x'_k)          m: captum's rescale rule at its known modules, else the gradient   [domeniconi2026]

Published comparisons list DeepLIFT for Swin and ConvNeXt. captum has no rule for GELU, SiLU and layer norms, and passes the
plain gradient through them. The map then is (x - x') times a gradient, and does not sum to the difference of the scores.
That is why `deeplift` refuses such networks, and why this variant exists under a name of its own: to compare with published
numbers. The diagnostic `delta` is the missing share of the difference, usually most of it; a map is kept whatever it is. captum
also loses a part at overlapping maximum pools (methods/deeplift.py). The published code's baseline is noise around the mean
grey; ours has a standard deviation of 0.001 in [0, 1]. Signed; channels are summed.
Cost: a forward and a backward of the image and of the baseline, and two forwards for the diagnostic.
"""

from typing import Literal

import torch
from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.captum_adapter import baseline_images, on_network

NOISE = 0.001
METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    requires=("single_use",),
    forwards=4,
    backwards=2,
    seeded=True,
    cite="domeniconi2026",
    differs="the noise of the baseline is added to grey values in [0, 1], not to the normalised image",
)


def attribute(
    inputs: ImageInputs, *, baseline: Literal["noise", "black", "mean", "blur"] = "noise"
) -> MapsWithDiagnostics:
    start = _noisy_mean(inputs) if baseline == "noise" else baseline_images(inputs, baseline)
    found, deltas = [], []
    with on_network("DeepLift", inputs, own_views=False) as method:
        for row in range(len(start)):  # captum's rule for a maximum pool mixes the images of a batch
            image = inputs.images[[row]].detach().requires_grad_()
            one, delta = method.attribute(image, start[[row]], inputs.target[[row]], return_convergence_delta=True)
            found.append(one.detach())
            deltas.append(delta.detach())
    maps, missing = torch.cat(found).sum(dim=1), torch.cat(deltas)
    return MapsWithDiagnostics(maps, {"delta": missing.abs() / (maps.sum(dim=(1, 2)) - missing).abs()})


def _noisy_mean(inputs: ImageInputs) -> Tensor:  # (n, c, h, w)
    mean = baseline_images(inputs, "mean")
    drawn = [torch.randn(mean.shape[1:], generator=generator) for generator in inputs.generators]
    return mean + NOISE * torch.stack(drawn).to(mean)
