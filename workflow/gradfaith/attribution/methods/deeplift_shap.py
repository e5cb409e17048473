"""DeepLIFT-SHAP: DeepLIFT, averaged over several baselines.

    map = mean over x' of  sum_k m_k(x, x') (x_k - x'_k)          x': black, mean and blur             [lundberg2017]

So no single baseline decides which pixels have relevance zero. The source draws baselines from the training images; a
method here sees no other image, so that its map depends on nothing else. The map sums to the score minus the mean score of
the baselines. `delta` is the largest missing share over the baselines; above DeepLIFT's limit an image has no map. Signed.
Our own DeepLIFT computes it, because captum's DeepLiftShap inherits the error that methods/deeplift.py names.
Cost: a forward and a backward of the image and of the baseline, for each baseline.
"""

import torch

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.methods import deeplift
from gradfaith.attribution.support.captum_adapter import BASELINE_FILLS

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    requires=("rescale",),
    forwards=6,
    backwards=6,
    scores=("logit",),  # no rule propagates a log-sum or a maximum over classes
    cite="lundberg2017",
    differs="the baselines are black, mean and blur, not training images",
)


def attribute(inputs: ImageInputs) -> MapsWithDiagnostics:
    found = [deeplift.attribute(inputs, baseline=kind) for kind in BASELINE_FILLS]
    deltas = torch.stack([one.diagnostics["delta"] for one in found])
    return MapsWithDiagnostics(torch.stack([one.maps for one in found]).mean(dim=0), {"delta": deltas.amax(dim=0)})
