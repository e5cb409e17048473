"""The CAM family beside grad-cam's, captum's and torchcam's, on native maps before anybody's scaling; and where they differ, why.

Layers are inner ones, so that methods that are one at the last layer differ here. grad-cam's map is taken before its two
scalings. What a peer does otherwise than its paper is shown by giving our formula the peer's slip: then both agree.
"""

import gc
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from typed import typed_methods

from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import MethodCall, bind_methods
from gradfaith.attribution.contract import Tap
from gradfaith.attribution.taps import tap_layers
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch

TARGET, SIZE = 1, 96
IMAGES = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
CONVOLUTIONAL = {
    "resnet": ("resnet10t", {"channels": [8, 12, 16, 24], "stem_width": 8}, "layer3"),
    "densenet": ("densenet121", {"growth_rate": 8, "block_config": [2, 2, 2]}, "features.denseblock2"),
    "efficientnet": ("test_efficientnet", {}, "blocks.2"),
}
NETWORKS = CONVOLUTIONAL | {
    "vit": ("vit_tiny_patch16_224", {"depth": 4, "embed_dim": 48, "num_heads": 2}, "blocks.2.norm1")
}
RELATIVE = 1e-5


@cache
def model(where: str) -> Classifier:
    """Logits of tens, as a trained network has: some peers guard divisions by a constant that would otherwise decide the map."""
    name, options, _ = NETWORKS[where]
    classifier = build_classifier(ClassifierSpec(name, 3, 1, 3, SIZE, 0.5, 0.25, options), seed=2).eval()
    with torch.no_grad():
        classifier.net.get_classifier().weight.mul_(300)  # type: ignore[operator, union-attr]
    return classifier


def layer(where: str) -> nn.Module:
    return model(where).net.get_submodule(NETWORKS[where][2])


def ours(where: str, name: str, layer: str = "", **options: object) -> Tensor:
    classifier, path = model(where), layer or NETWORKS[where][2]
    how = {"group": "methods", "use": name, "layer": path, "options": options, "score": "logit", "shuffled": False}
    (use,) = bind_methods(classifier, typed_methods({name: how}))
    with shared_passes.open_shared_passes(
        classifier, IMAGES, use.layers, chunk=AdaptiveBatch(64, torch.device("cpu")), curved="curvature" in use.needs
    ) as shared:
        found = use.attribute(
            MethodCall(shared.for_target(torch.tensor([TARGET]), torch.arange(1), "logit"), [], (1, 1), None)
        )
    assert isinstance(found, Tensor)
    assert found.amax() > 0, "a map of nothing would agree with anything"
    return found


def tap_of(where: str) -> Tap:
    with tap_layers(model(where), NETWORKS[where][2]) as tap:
        tap.forward(IMAGES)
        return tap.single_tap(torch.tensor([TARGET]))


def on_grid(tokens: Tensor) -> Tensor:  # (n, 1 + h w, c) -> (n, c, h, w)
    return tokens[:, 1:].reshape(len(tokens), 6, 6, -1).permute(0, 3, 1, 2)


def grad_cam(where: str, cls: str, **options: Any) -> Tensor:
    """The peer's own map of the layer, clipped as it clips it, before it is scaled."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    native: list[np.ndarray] = []
    reshape = {"reshape_transform": on_grid} if where == "vit" else {}
    with getattr(pytorch_grad_cam, cls)(model(where), [layer(where)], **reshape, **options) as peer:
        compute = peer.get_cam_image
        peer.get_cam_image = lambda *given, **words: native.append(compute(*given, **words)) or native[-1]
        peer(IMAGES, [ClassifierOutputTarget(TARGET)])
    model(where).zero_grad()
    return torch.from_numpy(np.maximum(native[0], 0))


def torch_cam(where: str, cls: str) -> Tensor:
    from torchcam import methods

    with getattr(methods, cls)(model(where), layer(where)) as peer:
        scores = model(where)(IMAGES)
        (found,) = peer(TARGET, scores, normalized=False)
    model(where).zero_grad()
    return found.detach().relu()


def agree(one: Tensor, other: Tensor, share: float = RELATIVE) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() <= share * other.abs().max()


def differ(one: Tensor, other: Tensor) -> None:
    """By far more than rounding, after scaling both to a maximum of one."""
    assert (one / one.max() - other / other.max()).abs().max() > 1e-3


@pytest.mark.parametrize("where", NETWORKS)
@pytest.mark.parametrize(
    ("name", "cls"),
    [("gradcam", "GradCAM"), ("layercam", "LayerCAM"), ("hirescam", "HiResCAM"), ("xgradcam", "XGradCAM")],
)
def test_grad_cam_agrees(where: str, name: str, cls: str) -> None:
    agree(ours(where, name), grad_cam(where, cls), 1e-4 if (where, name) == ("vit", "xgradcam") else RELATIVE)


@pytest.mark.parametrize("where", CONVOLUTIONAL)
def test_grad_cam_agrees_on_curvature_where_it_can(where: str) -> None:
    agree(ours(where, "shapleycam"), grad_cam(where, "ShapleyCAM"))
    if where == "efficientnet":
        differ(ours(where, "shapleycam"), ours(where, "gradcam"))


@pytest.mark.parametrize("where", CONVOLUTIONAL)
@pytest.mark.parametrize(("name", "cls"), [("gradcam", "GradCAM"), ("layercam", "LayerCAM"), ("xgradcam", "XGradCAM")])
def test_torchcam_agrees(where: str, name: str, cls: str) -> None:
    agree(ours(where, name), torch_cam(where, cls))


@pytest.mark.parametrize("where", CONVOLUTIONAL)
def test_captum_agrees_where_its_maps_are_clipped(where: str) -> None:
    from captum.attr import LayerGradCam

    peer = LayerGradCam(model(where), layer(where))
    agree(ours(where, "gradcam"), peer.attribute(IMAGES, TARGET, relu_attributions=True)[:, 0].detach())


def test_captum_s_default_map_is_signed() -> None:
    """A reader who takes it for Grad-CAM sees what speaks against the class as well, and after min-max cannot tell."""
    from captum.attr import LayerGradCam

    signed = LayerGradCam(model("efficientnet"), layer("efficientnet")).attribute(IMAGES, TARGET)[:, 0].detach()
    assert signed.min() < 0
    agree(ours("efficientnet", "gradcam"), signed.relu())


def test_captum_enlarges_to_the_nearest_neighbour_by_default() -> None:
    from captum.attr import LayerAttribution

    map_ = ours("resnet", "gradcam")[:, None]
    enlarged = LayerAttribution.interpolate(map_, (SIZE, SIZE))
    agree(enlarged, interpolate(map_, (SIZE, SIZE), mode="nearest"))
    differ(enlarged, interpolate(map_, (SIZE, SIZE), mode="bilinear"))


def test_captum_averages_a_transformer_s_channels_instead_of_its_tokens() -> None:
    from captum.attr import LayerGradCam

    found = LayerGradCam(model("vit"), layer("vit")).attribute(IMAGES, TARGET)
    assert found.shape == (1, 1, 48), "one number per channel: no map of places"


def test_grad_cam_s_gradcam_pp_adds_a_constant_to_the_denominator() -> None:
    """1e-6 beside g^2: where gradients are small, as here before the head was scaled up, the constant decides the map."""
    tap = tap_of("efficientnet")

    def published(constant: float) -> Tensor:
        g, whole = tap.gradient, tap.activation.sum(dim=(2, 3), keepdim=True)
        alpha = torch.where(g != 0, g**2 / (2 * g**2 + whole * g**3 + constant), 0.0)
        return ((alpha * g.relu()).sum(dim=(2, 3), keepdim=True) * tap.activation).sum(dim=1).relu()

    agree(published(1e-6), grad_cam("efficientnet", "GradCAMPlusPlus"))


@pytest.mark.parametrize("where", CONVOLUTIONAL)
def test_torchcam_s_gradcam_pp_never_divides(where: str) -> None:
    """`alpha[mask].div_(...)` divides a copy, so its weights are the sums of g^2 relu(g)."""
    tap = tap_of(where)
    undivided = (
        ((tap.gradient**2 * tap.gradient.relu()).sum(dim=(2, 3), keepdim=True) * tap.activation).sum(dim=1).relu()
    )
    agree(undivided, torch_cam(where, "GradCAMpp"))


def test_grad_cam_s_eigen_cam_centres_first_and_has_a_sign_by_chance() -> None:
    tap = tap_of("resnet")
    rows = tap.activation[0].flatten(1).T
    rows = rows - rows.mean(dim=0)
    centred = (rows @ torch.linalg.svd(rows, full_matrices=False).Vh[0]).reshape(tap.activation.shape[2:])[None]
    theirs = grad_cam("resnet", "EigenCAM")
    agree(centred.relu() if (centred.relu() - theirs).abs().max() < 1e-3 * theirs.max() else (-centred).relu(), theirs)
    differ(ours("resnet", "eigencam").relu(), theirs)


def test_grad_cam_s_ablation_agrees_where_no_activation_is_negative() -> None:
    agree(ours("resnet", "ablationcam"), ablated_by_the_peer("resnet"), 1e-4)


def test_grad_cam_s_ablation_takes_a_channel_far_below_its_minimum_where_any_is_negative() -> None:
    """1e7 below, and the next channel 1e7 below that: what then answers is no network anybody trained."""
    assert tap_of("efficientnet").activation.min() < 0
    differ(ours("efficientnet", "ablationcam"), ablated_by_the_peer("efficientnet"))


def ablated_by_the_peer(where: str) -> Tensor:
    """Its weights are (S - S_k) / S: multiplied by S, which is positive or turns the map around, they are ours."""
    from pytorch_grad_cam.ablation_layer import AblationLayer

    signed = grad_cam_signed(where, "AblationCAM", ablation_layer=AblationLayer())
    return (signed * tap_of(where).score).relu()


def grad_cam_signed(where: str, cls: str, **options: Any) -> Tensor:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    native: list[np.ndarray] = []
    with getattr(pytorch_grad_cam, cls)(model(where), [layer(where)], **options) as peer:
        compute = peer.get_cam_image
        peer.get_cam_image = lambda *given, **words: native.append(compute(*given, **words)) or native[-1]
        peer(IMAGES, [ClassifierOutputTarget(TARGET)])
    return torch.from_numpy(native[0])


def test_grad_cam_s_score_cam_enlarges_by_aligned_corners() -> None:
    """Its masks lie a little off the places they stand for; with our enlarging in its place both agree."""
    theirs = grad_cam("resnet", "ScoreCAM")
    aligned = nn.UpsamplingBilinear2d
    nn.UpsamplingBilinear2d = lambda size: lambda x: interpolate(x, tuple(size), mode="bilinear")  # type: ignore[misc, assignment]
    try:
        mended = grad_cam("resnet", "ScoreCAM")
    finally:
        nn.UpsamplingBilinear2d = aligned  # type: ignore[misc]
    agree(ours("resnet", "scorecam"), mended, 1e-4)
    assert (theirs - mended).abs().max() > 1e-3 * mended.max()


def test_grad_cam_s_shapley_cam_fails_on_a_transformer_where_ours_has_a_hessian(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pytorch_grad_cam.base_cam import BaseCAM

    monkeypatch.setattr(BaseCAM, "__del__", lambda _self: None)  # it fails once more when it is collected
    with pytest.raises(RuntimeError, match="detach views in-place"):
        grad_cam("vit", "ShapleyCAM")
    gc.collect()
    model("vit").zero_grad()
    differ(ours("vit", "shapleycam"), ours("vit", "gradcam"))


@pytest.mark.parametrize("cls", ["GradCAM", "LayerCAM"])
def test_grad_cam_s_refine_cam_agrees_on_the_product(cls: str) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.refine_cam import RefineCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = model("resnet").net
    layers = [net.get_submodule(name) for name in ("layer1", "layer2", "layer3", "layer4")]
    peer = RefineCAM(model("resnet"), layers, base_method=getattr(pytorch_grad_cam, cls))
    theirs = torch.from_numpy(peer(IMAGES, [ClassifierOutputTarget(TARGET)]))
    product = ours("resnet", "refine", "auto", of=cls.lower(), combine="product")
    low, high = product.amin(), product.amax()
    agree((product - low) / (high - low), theirs, 1e-4)
