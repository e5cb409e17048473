"""SmoothGrad: the gradient, averaged over noisy copies of the image.

    map = max_k | mean_s g_k(x + e_s) |,    e_s ~ N(0, (noise * (max x - min x))^2) per pixel           [smilkov2017]

The mean is taken of signed gradients, and the absolute value afterwards, so directions that change with the noise cancel.
(The mean of absolute gradients is another method, hardly smoother than one gradient.) Noisy images may leave [0, 1], as in
the original. Each copy has its own seed from the image's generator, so it does not depend on the batch or on repetition.
Computed by captum's NoiseTunnel around its Saliency. Cost: a forward and a backward for each sample.
"""

import torch
from torch import Generator, Tensor

from gradfaith.attribution.contract import ImageInputs, Method
from gradfaith.attribution.support.captum_adapter import noise_tunnel, on_scores, rows_of

METHOD = Method(
    needs=("image",), grid="input", signed=False, forwards="samples", backwards="samples", seeded=True, cite="smilkov2017",
    limits=("samples >= 1", "noise >= 0"),
)  # fmt: skip


def attribute(inputs: ImageInputs, *, samples: int = 50, noise: float = 0.15) -> Tensor:  # (n, h, w)
    slopes = [_slope(inputs, row, samples, noise) for row in range(len(inputs.images))]
    return torch.cat(slopes).abs().amax(dim=1)


def _slope(inputs: ImageInputs, row: int, samples: int, noise: float) -> Tensor:  # (1, c, h, w)
    """Return the averaged gradient of one image."""
    image = inputs.images[row]
    seeds = iter(torch.randint(2**62, (samples,), generator=inputs.generators[row]).tolist())

    def draw(count: int) -> Tensor:  # (m, c, h, w)
        drawn = (torch.randn(image.shape, generator=Generator().manual_seed(next(seeds))) for _ in range(count))
        return torch.stack(list(drawn))

    slope: Tensor = noise_tunnel(on_scores("Saliency", inputs), draw).attribute(
        image[None], nt_samples=samples, nt_samples_batch_size=inputs.rows_at_once,
        stdevs=float(noise * (image.max() - image.min())), abs=False, **rows_of(inputs, row),
    )  # fmt: skip
    return slope
