"""GradientSHAP (Expected Gradients): integrated gradients, averaged over several baselines.

    map = sum_k E[ (x_k + e_k - x'_k) g_k( x' + t (x + e - x') ) ]    t ~ U(0, 1), x' drawn from the baselines    [erion2021]

Every sample draws a place t, one of the baselines black, mean and blur, and noise e of standard deviation
`noise` * (max x - min x). So no single baseline decides which pixels have relevance zero. The source draws baselines from the
training images; a method here sees no other image, so that its map depends on nothing else. In expectation, and without
noise, the map sums to S(x) minus the mean score of the baselines. Every map records the missing share of this difference as
the diagnostic `completeness`, which includes the chance of the draws. Signed; channels are summed.
Computed by captum's GradientShap. Cost: a forward and a backward for each sample, and four forwards.
"""

import torch
from torch import Tensor

from gradfaith.attribution.contract import ImageInputs, MapsWithDiagnostics, Method
from gradfaith.attribution.support.captum_adapter import BASELINE_FILLS, baseline_images, on_scores, rows_of, seeded_by

METHOD = Method(
    needs=("image",),
    grid="input",
    signed=True,
    forwards="samples + 4",
    backwards="samples",
    seeded=True,
    cite="erion2021",
    differs="the baselines are black, mean and blur, not training images",
    limits=("samples >= 1", "noise >= 0"),
)


def attribute(inputs: ImageInputs, *, samples: int = 50, noise: float = 0.0) -> MapsWithDiagnostics:
    starts = torch.stack([baseline_images(inputs, kind) for kind in BASELINE_FILLS], dim=1)  # (n, baselines, c, h, w)
    maps = torch.cat([_attribute_one(inputs, row, starts[row], samples, noise) for row in range(len(starts))]).sum(
        dim=1
    )
    rows = torch.arange(len(starts), device=starts.device)
    copies, points = rows.repeat_interleave(starts.shape[1]), starts.flatten(0, 1)
    before = inputs.scores(lambda some: points[some], copies).reshape(starts.shape[:2]).mean(dim=1)
    gained = inputs.scores(lambda some: inputs.images[some], rows) - before
    return MapsWithDiagnostics(maps, {"completeness": (maps.sum(dim=(1, 2)) - gained).abs() / gained.abs()})


def _attribute_one(inputs: ImageInputs, row: int, starts: Tensor, samples: int, noise: float) -> Tensor:  # (1, c, h, w)
    image = inputs.images[[row]]
    with seeded_by(inputs.generators[row], image.device):
        found: Tensor = on_scores("GradientShap", inputs).attribute(
            image, starts, n_samples=samples, stdevs=float(noise * (image.max() - image.min())), **rows_of(inputs, row)
        )
    return found.detach()
