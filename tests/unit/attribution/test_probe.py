"""The probe refuses a layer that gives no map, names one that does, and leaves the network as it was."""

from typing import Any

import pytest
import torch
from torch import nn

from gradfaith.attribution import taps
from gradfaith.attribution.probe import probe
from gradfaith.errors import LayerUnusable, ModelUnusable
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.layers import default_layer


def make(name: str, size: int = 96, **options: Any) -> Classifier:
    return build_classifier(ClassifierSpec(name, 3, 1, 3, size, 0.5, 0.25, options), seed=1)


@pytest.fixture(scope="module")
def vit() -> Classifier:
    return make("vit_tiny_patch16_224", depth=3)


def test_the_last_block_of_a_class_token_network_has_no_gradient_and_its_norm_is_named(vit: Classifier) -> None:
    with pytest.raises(LayerUnusable, match="exactly zero at 36 of its 36 positions") as refusal:
        probe(vit, "blocks.-1")
    assert refusal.value.fix == '"blocks.2.norm1" works: set `layer: blocks.2.norm1`.'
    assert probe(vit, "blocks.2.norm1") == (6, 6)
    assert probe(vit, "blocks.1") == (6, 6)


@pytest.mark.parametrize("layer", ["blocks.2.mlp.fc2", "blocks.2.ls1", "norm", "head"])
def test_any_other_dead_end_of_it_names_the_same_layer(vit: Classifier, layer: str) -> None:
    with pytest.raises(LayerUnusable) as refusal:
        probe(vit, layer)
    assert "blocks.2.norm1" in refusal.value.fix


def test_where_all_tokens_are_averaged_the_last_block_is_fine() -> None:
    classifier = make("beit_base_patch16_224", depth=2, embed_dim=64, num_heads=2)
    assert probe(classifier, "blocks.-1") == (6, 6)


def test_a_layer_without_a_grid_names_the_nearest_with_one() -> None:
    with pytest.raises(LayerUnusable, match="no grid") as refusal:
        probe(make("resnet10t"), "fc")
    assert '"layer4" works' in refusal.value.fix


def test_a_grid_coarser_than_asked_for_names_a_finer_layer() -> None:
    classifier = make("resnet10t")
    assert probe(classifier, "layer4", minimum_grid=3) == (3, 3)
    with pytest.raises(LayerUnusable, match="3 x 3, coarser than 6 x 6") as refusal:
        probe(classifier, "layer4", minimum_grid=6)
    assert '"layer3" works' in refusal.value.fix


def test_a_head_that_starts_at_zero_is_not_blamed_on_the_layer_and_stays_zero() -> None:
    classifier = make("mixer_s16_224")
    head = classifier.net.head.weight  # type: ignore[union-attr]
    assert not head.any(), "the case bites: with this head every gradient is zero"  # type: ignore[operator]
    before = [value.clone() for value in classifier.state_dict().values()]
    assert probe(classifier, default_layer(classifier.net)) == (6, 6)
    assert all(torch.equal(one, two) for one, two in zip(before, classifier.state_dict().values(), strict=True))


def test_modes_and_random_state_survive() -> None:
    classifier = make("resnet10t").train()
    classifier.net.layer1.eval()  # type: ignore[union-attr, operator]
    modes, state = [module.training for module in classifier.modules()], torch.random.get_rng_state()
    statistics = classifier.net.bn1.running_mean.clone()  # type: ignore[union-attr, operator]
    probe(classifier, "layer4")
    assert [module.training for module in classifier.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(classifier.net.bn1.running_mean, statistics)  # type: ignore[union-attr, arg-type]


class Overflowing(nn.Module):
    """Its first layer is fine, its second is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale, self.pool = nn.Conv2d(1, 4, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.scale(self.conv(x)) * torch.inf).flatten(1)


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    classifier = Classifier(Overflowing(), ClassifierSpec("planted", 4, 1, 1, 8, 0.0, 1.0))
    with pytest.raises(LayerUnusable, match="not finite"):
        probe(classifier, "scale")


@pytest.mark.parametrize(("count", "side"), [(16, 4), (17, None), (15, None)])
def test_tokens_make_a_grid_only_where_their_number_is_a_square(count: int, side: int | None) -> None:
    """Seventeen are a class token and sixteen patches only for a network that says it has a class token."""
    if side is None:
        with pytest.raises(LayerUnusable, match="0 square grids"):
            taps._tokens(nn.Module(), "x", count)
    else:
        assert taps._tokens(nn.Module(), "x", count).grid == (side, side)


def test_a_size_the_network_cannot_take_is_the_models_fault_not_the_layers() -> None:
    classifier = make("efficientformer_l1")
    with pytest.raises(ModelUnusable, match="cannot take images of 96 px"):
        probe(classifier, "stages.-1")
