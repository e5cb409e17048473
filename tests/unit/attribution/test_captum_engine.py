"""captum computes the named methods: its class is called by the real method, on a real network, and each class's map is its own.

A method that is not listed here is our own; its file says why.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from asked import TARGET, compute_maps, linear_network, noise, open_image_inputs, relu_network
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.testing import assert_close

from gradfaith import registry
from gradfaith.attribution import shared_passes
from gradfaith.attribution.methods import (
    deeplift_literature,
    deeplift_shap,
    gradient_shap,
    guided_backprop,
    guided_gradcam_literature,
    occlusion,
    saliency,
    shapley_sampling,
)
from gradfaith.attribution.support.captum_adapter import baseline_images, seeded_by
from gradfaith.attribution.support.superpixels import cut_superpixels
from gradfaith.models import layers
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch
from gradfaith.vocabulary import SCORES, Score

# Method, its options, and the classes of captum that must compute it.
CALLS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "saliency": ({}, ["Saliency"]),
    "input_x_gradient": ({}, ["InputXGradient"]),
    "integrated_gradients": ({"steps": 4}, ["IntegratedGradients"]),
    "smoothgrad": ({"samples": 3}, ["NoiseTunnel"]),
    "guided_backprop": ({}, ["GuidedBackprop"]),
    "guided_gradcam": ({}, ["GuidedGradCam"]),
    "occlusion": ({"window": 8, "stride": 4}, ["Occlusion"]),
    "feature_ablation": ({"segments": 6}, ["FeatureAblation"]),
    "shapley_sampling": ({"segments": 6, "orders": 2}, ["ShapleyValueSampling"]),
    "lime": ({"segments": 6, "samples": 30}, ["Lime"]),
    "kernel_shap": ({"segments": 6, "samples": 30}, ["KernelShap"]),
    "gradient_shap": ({"samples": 3}, ["GradientShap"]),
    "guided_gradcam_literature": ({}, ["GuidedGradCam"]),
    "deeplift_literature": ({}, ["DeepLift"]),
}
IMAGES = interpolate(noise(3, 1, 8, 8), (32, 32), mode="bicubic").clamp(0, 1)
SMALL = {"channels": [8, 12, 16, 24], "stem_width": 8}


def maps_of(name: str, options: dict[str, Any]) -> Tensor:
    """Return the maps of a method on a small ResNet, through the inputs of a study."""
    classifier = build_classifier(ClassifierSpec("resnet10t", 3, 1, 3, 32, 0.5, 0.25, SMALL), seed=10).double().eval()
    method, layer = registry.load("methods", name), layers.default_layer(classifier.net)
    tapped = [layer] if "layer" in method.METHOD.needs else []
    with shared_passes.open_shared_passes(classifier, IMAGES, tapped, chunk=AdaptiveBatch(8, IMAGES.device)) as shared:
        inputs = shared.for_target(TARGET, torch.arange(3), "logit")
        taps = [inputs.tap(layer)] if tapped else []
        streams = [torch.Generator().manual_seed(row) for row in range(3)]
        found = method.attribute(*taps, inputs.image(streams), **options)
    return found if isinstance(found, Tensor) else found.maps


@contextmanager
def spying(name: str) -> Iterator[list[str]]:
    """Note the calls of `attribute` of one of captum's classes."""
    calls, kind = list[str](), getattr(captum.attr, name)
    own = kind.__dict__["attribute"]

    @wraps(own)
    def attribute(self: object, *given: object, **words: object) -> object:
        calls.append(type(self).__name__)
        return own(self, *given, **words)

    kind.attribute = attribute
    try:
        yield calls
    finally:
        kind.attribute = own


@pytest.mark.parametrize("name", CALLS)
def test_captum_s_class_computes_the_method(name: str) -> None:
    options, (engine,) = CALLS[name]
    with spying(engine) as calls:
        found = maps_of(name, options)
    assert set(calls) == {engine}
    assert found.isfinite().all()
    assert found.any()


def test_captum_is_imported_when_a_map_is_computed_and_not_before() -> None:
    """It takes half a second, which jobs that compute no map should not pay."""
    program = (
        "import sys; from gradfaith import registry; [registry.load('methods', name) for name in registry.names('methods')];"
        "print('captum' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["saliency", "input_x_gradient"])
def test_the_gradient_that_the_bundle_shares_is_computed_once(name: str) -> None:
    with open_image_inputs(relu_network(), IMAGES, TARGET) as given:
        passes = list[int]()
        hook = given.network.register_forward_hook(lambda *_: passes.append(1))
        shared = given.image_gradient()
        registry.load("methods", name).attribute(given)
        hook.remove()
        assert not passes, "captum would run a pass of its own"
    assert shared.shape == IMAGES.shape


def test_global_generators_are_as_they_were_and_only_the_image_s_own_draws_count() -> None:
    net, draws = relu_network(), []
    for outside in (1, 2):
        np.random.seed(outside)  # noqa: NPY002 - what captum draws from
        torch.manual_seed(outside)
        states = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
        draws.append(compute_maps(gradient_shap, net, IMAGES, TARGET, how={"samples": 4, "noise": 0.1}).maps)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(*draws)
    with pytest.raises(KeyError), seeded_by(torch.Generator().manual_seed(0), IMAGES.device):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), states[0]), "restored after an error"


@pytest.mark.parametrize("kind", SCORES)
def test_the_study_s_score_is_explained(kind: Score) -> None:
    """Written out from the probabilities: a window over the complete image, and the gradient."""
    net, places = relu_network(), torch.arange(3)

    def written_out(images: Tensor) -> Tensor:
        logits = net(images)
        p = logits.softmax(dim=1)[places, TARGET]
        others = logits.masked_fill(nn.functional.one_hot(TARGET, 3).bool(), -torch.inf).amax(dim=1)
        own = logits[places, TARGET]
        return {"logit": own, "log_odds": (p / (1 - p)).log(), "margin": own - others, "probability": p}[kind]

    whole = {"window": 32, "stride": 32}
    found = compute_maps(occlusion, net, IMAGES, TARGET, how=whole, kind=kind).maps
    drop = (written_out(IMAGES) - written_out(IMAGES * 0)).detach()
    assert_close(found, drop[:, None, None].expand_as(found), rtol=1e-6, atol=1e-8)
    images = IMAGES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(written_out(images).sum(), images)
    assert_close(compute_maps(saliency, net, IMAGES, TARGET, how={}, kind=kind).maps, slope[:, 0].abs())


class Joined(nn.Module):
    """A ReLU and a shortcut read the same tensor; captum alone would also clip the shortcut's gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.bend, self.after = (
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.Sequential(nn.Flatten(), nn.Linear(3600, 3)),
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))

    def forward(self, x: Tensor) -> Tensor:
        z = self.before(x)
        logits: Tensor = self.after(self.bend(z) + z)
        return logits


def test_guided_backprop_leaves_the_gradient_of_a_shortcut_beside_a_relu_alone() -> None:
    net = Joined().double()
    found = compute_maps(guided_backprop, net, IMAGES, TARGET, how={}).maps
    z = net.before(IMAGES)
    (slope,) = torch.autograd.grad(net.after(2 * z).gather(1, TARGET[:, None]).sum() / 2, z)
    by_hand = slope + torch.where((z > 0) & (slope > 0), slope, 0)
    expected = nn.functional.conv_transpose2d(by_hand, net.before.weight)[:, 0].detach()
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    alone = captum.attr.GuidedBackprop(net).attribute(IMAGES.clone().requires_grad_(), TARGET)[:, 0]
    assert (alone - expected).abs().max() > 0.1 * expected.abs().max(), "captum by itself"


@pytest.mark.parametrize("name", ["feature_ablation", "shapley_sampling"])
def test_of_a_linear_network_a_superpixel_is_worth_what_it_adds(name: str) -> None:
    net, weight = linear_network(32)
    found = compute_maps(registry.load("methods", name), net, IMAGES, TARGET, how={"segments": 9, "fill": "grey"})
    for row, labels in enumerate([cut_superpixels(image, 9) for image in IMAGES]):
        parts = (weight[row, 0] * (IMAGES[row, 0] - 0.5)).flatten()
        own = torch.zeros(int(labels.max()) + 1).double().index_add_(0, labels.flatten(), parts)
        assert_close(found.maps[row], own[labels], rtol=1e-5, atol=1e-6)
        assert found.diagnostics["superpixels"][row] == len(own)


def test_deeplift_shap_gives_back_the_difference_to_its_baselines_mean_score() -> None:
    net, pool = relu_network(nn.MaxPool2d(3, 2, 1)), {"mean": 0.5, "std": 0.25}
    found = compute_maps(deeplift_shap, net, IMAGES, TARGET, how={}, **pool)
    with open_image_inputs(net, IMAGES, TARGET, **pool) as given:
        starts = [baseline_images(given, kind) for kind in ("black", "mean", "blur")]
        scores = torch.stack([given.network(one)[torch.arange(3), TARGET] for one in (IMAGES, *starts)]).detach()
    assert_close(found.maps.sum(dim=(1, 2)), scores[0] - scores[1:].mean(dim=0), rtol=1e-9, atol=1e-12)
    assert (found.diagnostics["delta"] < 1e-10).all()


def test_orders_add_up_to_what_all_superpixels_add() -> None:
    net, how = relu_network(), {"segments": 9, "orders": 3, "fill": "grey"}
    found = compute_maps(shapley_sampling, net, IMAGES, TARGET, how=how)
    whole = (net(IMAGES) - net(torch.full_like(IMAGES, 0.5))).gather(1, TARGET[:, None])[:, 0].detach()
    sums = torch.stack([map_.unique().sum() for map_ in found.maps])
    assert [len(map_.unique()) for map_ in found.maps] == found.diagnostics["superpixels"].tolist()
    assert_close(sums, whole, rtol=1e-5, atol=1e-7)


def test_more_draws_of_gradient_shap_leave_less_of_the_difference_missing() -> None:
    few, many = (
        compute_maps(gradient_shap, relu_network(), IMAGES, TARGET, how={"samples": count}).diagnostics["completeness"]
        for count in (6, 600)
    )
    assert many.mean() < few.mean() / 3


@pytest.mark.parametrize("timm", ["swin_tiny_patch4_window7_224", "convnext_atto"])
def test_where_principled_methods_are_refused_the_literature_s_are_gradients(timm: str) -> None:
    """captum finds no ReLU: guided backpropagation is the gradient. Of Swin its DeepLIFT changes the softmax alone."""
    narrow = {
        "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (1, 1, 2, 1), "window_size": 2},
        "convnext_atto": {"dims": (8, 12, 16, 24), "depths": (1, 1, 1, 1)},
    }
    classifier = build_classifier(ClassifierSpec(timm, 3, 1, 3, 64, 0.5, 0.25, narrow[timm]), seed=8).double().eval()
    images, layer = noise(3, 1, 64, 64), layers.default_layer(classifier.net)
    with shared_passes.open_shared_passes(classifier, images, [layer], chunk=AdaptiveBatch(8, images.device)) as shared:
        inputs = shared.for_target(TARGET, torch.arange(3), "logit")
        tap, given = inputs.tap(layer), inputs.image([torch.Generator().manual_seed(row) for row in range(3)])
        guided, own_axes = (guided_gradcam_literature.attribute(tap, given, axes=axes) for axes in ("grid", "captum"))
        published = captum.attr.GuidedGradCam(given.network, classifier.net.get_submodule(layer)).attribute(
            images.clone().requires_grad_(), TARGET
        )
        deep = deeplift_literature.attribute(given, baseline="black")
        rows = [(images[[row]].requires_grad_(), images[[row]] * 0, TARGET[[row]]) for row in range(3)]
        peer = torch.cat([captum.attr.DeepLift(given.network).attribute(*row) for row in rows]).detach().sum(dim=1)
        gradient, coarse = given.image_gradient(), registry.load("methods", "gradcam").attribute(tap)
    enlarged = interpolate(coarse[:, None], (64, 64), mode="nearest")[:, 0]
    assert enlarged.any()
    assert_close(guided, gradient.sum(dim=1) * enlarged, rtol=1e-9, atol=1e-12)
    assert_close(own_axes, published.detach().sum(dim=1), rtol=1e-9, atol=1e-12)
    assert torch.equal(own_axes, guided) == timm.startswith("convnext"), "captum takes Swin's height for channels"
    assert torch.equal(deep.maps, peer)
    assert torch.allclose(peer, (images * gradient).sum(dim=1), rtol=1e-9, atol=1e-12) == timm.startswith("convnext")
    assert (deep.diagnostics["delta"] > 0.05).all(), "which `deeplift` would not accept"
