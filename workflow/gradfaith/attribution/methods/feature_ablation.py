"""Feature ablation: the drop of the score when one superpixel is removed.

    map = S(x) - S(x without superpixel j)   on superpixel j                                            [zeiler2014]

Occlusion with the image's own parts instead of windows: SLIC cuts it (attribution/support/superpixels.py), and a removed
superpixel is filled with its own mean, or with mid grey. Superpixels are removed one at a time, so evidence that two of them
hold in common shows in neither; `shapley_sampling` averages over all orders. Signed. The diagnostic `superpixels` is their
number. Computed by captum's FeatureAblation. Cost: a forward for each superpixel, and one.
"""

from typing import Literal

from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.captum_adapter import captum_class
from gradfaith.attribution.support.superpixels import ScoreKept, attribute_superpixels

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    forwards="superpixels + 1",
    cite="zeiler2014",
    differs="superpixels take the place of square windows",
    limits=("segments >= 3",),
)


def attribute(
    inputs: ImageInputs, *, segments: int = 50, fill: Literal["mean", "grey"] = "mean"
) -> MapsWithDiagnostics:
    def ablate(_row: int, scores: ScoreKept, full: Tensor) -> Tensor:  # (1, superpixels)
        method = captum_class("FeatureAblation")(scores)
        found: Tensor = method.attribute(full, perturbations_per_eval=inputs.rows_at_once)
        return found

    return attribute_superpixels(inputs, segments, fill, ablate)
