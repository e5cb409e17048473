"""What all methods of changed images share: what they say of a linear network, where they are refused, what they leave."""

from typing import Any

import pytest
import torch
from asked import TARGET, compute_maps, linear_network, noise, relu_network
from torch.testing import assert_close
from typed import typed_methods

from gradfaith import registry
from gradfaith.attribution import bound_method
from gradfaith.errors import MethodUndefined
from gradfaith.models.classifier import ClassifierSpec, build_classifier

HOW: dict[str, dict[str, Any]] = {
    "saliency": {},
    "input_x_gradient": {},
    "integrated_gradients": {"steps": 4},
    "smoothgrad": {"samples": 4},
    "deeplift": {},
    "lrp": {},
    "guided_backprop": {},
    "occlusion": {"window": 4, "stride": 3},
    "lime": {"segments": 6, "samples": 30},
    "kernel_shap": {"segments": 12, "samples": 30},
    "feature_ablation": {"segments": 6},
    "shapley_sampling": {"segments": 6, "orders": 3},
    "gradient_shap": {"samples": 6, "noise": 0.1},
    "deeplift_shap": {},
    "deeplift_literature": {},
    "rise": {"masks": 20, "grid": 3},
}
SEEDED = ["smoothgrad", "lime", "kernel_shap", "shapley_sampling", "gradient_shap", "deeplift_literature", "rise"]
every = pytest.mark.parametrize("name", HOW)
images = noise(3, 1, 16, 16)


def maps(name: str, **asked: Any) -> torch.Tensor:
    """Of a small network that bends, for the three images."""
    rows = asked.pop("rows", slice(None))
    seeds = [7, 8, 9][rows]
    method = registry.load("methods", name)
    return compute_maps(method, relu_network(), images[rows], TARGET[rows], how=HOW[name], seeds=seeds, **asked).maps


@pytest.mark.parametrize("name", ["input_x_gradient", "integrated_gradients", "deeplift"])
def test_of_a_linear_network_the_map_is_weight_times_pixel(name: str) -> None:
    net, weight = linear_network(16, channels=3)
    coloured = noise(3, 3, 16, 16)
    found = compute_maps(registry.load("methods", name), net, coloured, TARGET, how=HOW[name]).maps
    assert_close(found, (weight * coloured).sum(dim=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["saliency", "smoothgrad"])
def test_of_a_linear_network_the_map_is_the_largest_weight(name: str) -> None:
    net, weight = linear_network(16, channels=3)
    found = compute_maps(registry.load("methods", name), net, noise(3, 3, 16, 16), TARGET, how=HOW[name]).maps
    assert_close(found, weight.abs().amax(dim=1), rtol=1e-12, atol=1e-12)


@every
def test_neither_batch_nor_chunk_nor_neighbours_change_a_map(name: str) -> None:
    together, cut = maps(name), maps(name, chunk=5)
    alone = torch.cat([maps(name, rows=slice(row, row + 1), chunk=3) for row in range(3)])
    size = together.abs().max()
    assert (together - cut).abs().max() <= 1e-10 * size
    assert (together - alone).abs().max() <= 1e-10 * size


@every
def test_only_what_is_drawn_depends_on_the_seed(name: str) -> None:
    method = registry.load("methods", name)
    other = compute_maps(method, relu_network(), images, TARGET, how=HOW[name], seeds=[17, 18, 19]).maps
    assert torch.equal(maps(name), other) != (name in SEEDED)
    assert method.METHOD.seeded == (name in SEEDED)


@every
def test_nothing_is_left_on_the_network_nor_on_the_images(name: str) -> None:
    net, before = relu_network(), images.clone()
    state = [
        (set(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks)) for module in net.modules()
    ]
    compute_maps(registry.load("methods", name), net, images, TARGET, how=HOW[name])
    after = [
        (set(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks)) for module in net.modules()
    ]
    assert after == state
    assert torch.equal(images, before)
    assert not images.requires_grad


@every
def test_signs_are_as_declared(name: str) -> None:
    assert (maps(name) < 0).any() == registry.load("methods", name).METHOD.signed


def refused(name: str, timm: str, **options: Any) -> str:
    classifier = build_classifier(ClassifierSpec(timm, 3, 1, 3, 64, 0.5, 0.25, options), seed=0).eval()
    how = {"group": "methods", "use": name, "layer": "auto", "options": {}, "score": "logit", "shuffled": False}
    with pytest.raises(MethodUndefined) as refusal:
        bound_method.bind_methods(classifier, typed_methods({name: how}))
    return refusal.value.problem


@pytest.mark.parametrize("name", ["guided_backprop", "guided_gradcam", "deeplift"])
@pytest.mark.parametrize(
    ("timm", "bends"), [("test_efficientnet", "SiLU"), ("convnext_atto", "GELU"), ("test_vit", "GELU")]
)
def test_where_not_only_relus_bend_there_is_no_such_method(name: str, timm: str, bends: str) -> None:
    small = {"dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)} if timm == "convnext_atto" else {}
    assert bends in refused(name, timm, **small)


def test_relevance_has_no_way_through_branches() -> None:
    assert "branches join" in refused("lrp", "test_resnet")
