"""captum beside our occlusion, LIME and KernelSHAP: the same windows, the same superpixels, the same copies; relative 1e-5.

captum's own draws come from the global generator, so it is handed ours; its KernelSHAP, whose two ends are heavy samples
instead of a constraint, is compared with the exact values, as near as 1,000 samples bring it.
"""

from collections.abc import Iterator

import pytest
import torch
from asked import TARGET, compute_maps, noise, relu_network
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import KernelShap, Lime, Occlusion
from torch import Generator, Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from gradfaith.attribution.methods import kernel_shap, lime, occlusion
from gradfaith.attribution.support.superpixels import cut_superpixels

IMAGES = interpolate(noise(3, 1, 6, 6), (24, 24), mode="bicubic").clamp(0, 1)
GREY = torch.full_like(IMAGES[:1], 0.5)


def test_occlusion() -> None:
    """Windows that end at the border by themselves; captum cuts the last ones off instead, and answers in single precision."""
    peer = Occlusion(relu_network()).attribute(IMAGES, (1, 6, 6), (1, 3, 3), baselines=0.0, target=TARGET)
    found = compute_maps(occlusion, relu_network(), IMAGES, TARGET, how={"window": 6, "stride": 3}).maps
    assert_close(found, peer.detach().double().sum(dim=1), rtol=1e-5, atol=1e-7)


def test_lime_of_the_same_copies() -> None:
    samples = 80
    found = compute_maps(
        lime, relu_network(), IMAGES, TARGET, how={"segments": 20, "samples": samples, "fill": "grey"}, seeds=[4, 5, 6]
    )
    for row, labels in enumerate([cut_superpixels(image, 20) for image in IMAGES]):
        count = int(labels.max()) + 1
        copies = lime._copies(count, samples, Generator().manual_seed(4 + row), width=0.25)
        weight = dict(zip(map(bytes, copies.kept.astype("u1")), copies.weights, strict=True))

        def drawn(_image: Tensor, copies: lime.SuperpixelCopies = copies, **_: object) -> Iterator[Tensor]:
            yield from torch.from_numpy(copies.kept)[:, None]

        def near(
            _image: Tensor, _changed: Tensor, kept: Tensor, weight: dict[bytes, float] = weight, **_: object
        ) -> Tensor:
            return torch.tensor([weight[bytes(kept[0].numpy().astype("u1"))]])

        peer = Lime(relu_network(), SkLearnRidge(alpha=1.0), near, drawn)
        theirs = peer.attribute(
            IMAGES[row : row + 1], GREY, int(TARGET[row]), feature_mask=labels[None, None], n_samples=samples + 1
        )
        assert (found.maps[row] - theirs[0, 0]).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.filterwarnings("ignore:.*ingular matrix")
def test_kernel_shap_s_exact_values_are_what_captum_comes_near_to() -> None:
    exact = compute_maps(
        kernel_shap, relu_network(), IMAGES, TARGET, how={"segments": 12, "samples": 2**11, "fill": "grey"}
    ).maps
    for row, labels in enumerate([cut_superpixels(image, 12) for image in IMAGES]):
        with torch.random.fork_rng():
            torch.manual_seed(row)
            theirs = KernelShap(relu_network()).attribute(
                IMAGES[row : row + 1], GREY, int(TARGET[row]), feature_mask=labels[None, None], n_samples=1000
            )
        assert (exact[row] - theirs[0, 0]).abs().max() <= 0.05 * exact[row].abs().max()
