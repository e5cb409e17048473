"""The stack of layers that RefineCAM combines: several stages that exist and run, or a refusal with a fix."""

from typing import Any

import pytest
from small_networks import make, noise
from torch import nn

from gradfaith.attribution.taps import tap_layers
from gradfaith.errors import LayerUnusable
from gradfaith.models.layers import default_layer, layer_stack, resolve_layer

STACKS: dict[str, tuple[int, dict[str, Any], tuple[str, ...], tuple[int, ...]]] = {  # name -> size, options, layers, sides
    "cait_xxs24_224": (64, {"depth": 5}, ("blocks.1", "blocks.2", "blocks.3", "blocks.4"), (4, 4, 4, 4)),
    "xcit_nano_12_p16_224": (64, {"depth": 3}, ("blocks.0", "blocks.1", "blocks.2"), (4, 4, 4)),
    "gmlp_ti16_224": (224, {}, ("blocks.26", "blocks.27", "blocks.28", "blocks.29"), (14, 14, 14, 14)),
    "convmixer_768_32": (64, {}, ("blocks.28", "blocks.29", "blocks.30", "blocks.31"), (9, 9, 9, 9)),
    "samvit_base_patch16_224": (
        64, {"depth": 5, "embed_dim": 48, "num_heads": 2, "img_size": 64},
        ("blocks.1", "blocks.2", "blocks.3", "blocks.4"), (4, 4, 4, 4),
    ),
    "vit_tiny_patch16_224": (64, {"depth": 3}, ("blocks.0.norm1", "blocks.1.norm1", "blocks.2.norm1"), (4, 4, 4)),
    "levit_conv_128s": (
        64, {"embed_dim": [32], "num_heads": [2], "depth": [3], "key_dim": 8},
        ("stages.0.blocks.0", "stages.0.blocks.1", "stages.0"), (4, 4, 4),
    ),
    "hrnet_w18_small": (
        96, {}, ("incre_modules.0", "incre_modules.1", "incre_modules.2", "final_layer"), (24, 12, 6, 3),
    ),
    "twins_pcpvt_small": (
        64, {"depths": (1, 2, 1, 1)}, ("blocks.0.0", "blocks.1.1", "blocks.2.0", "norm"), (16, 8, 4, 2),
    ),
    "mvitv2_tiny": (
        64, {}, ("stages.0.blocks.0.norm2", "stages.1.blocks.1.norm2", "stages.2.blocks.4.norm2", "norm"), (16, 8, 4, 2),
    ),
    "pit_ti_224": (
        224, {"depth": (1, 1, 2)},
        ("transformers.0.blocks.0", "transformers.1.blocks.0", "transformers.2.blocks.1.norm1"), (27, 14, 7),
    ),
    "coat_lite_tiny": (
        64, {}, ("serial_blocks1.1", "serial_blocks2.1", "serial_blocks3.1", "serial_blocks4.1.norm1"), (16, 8, 4, 2),
    ),
    "resnet10t": (64, {}, ("layer1", "layer2", "layer3", "layer4"), (16, 8, 4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_has_several_layers_and_each_gives_a_map(name: str) -> None:
    size, options, stack, sides = STACKS[name]
    classifier = make(name, size, **options)
    assert layer_stack(classifier.net) == stack
    assert layer_stack(classifier.net, stack[1]) == stack[1:]
    assert default_layer(classifier.net) == stack[-1]
    with tap_layers(classifier, *stack) as tap:
        gradients = tap.backward(tap.forward(noise(2, size)).argmax(dim=1))
        found = [gradients.tap(layer) for layer in stack]
    assert tuple(one.activation.shape[-1] for one in found) == sides
    assert all((one.gradient.abs().amax(dim=(0, 1)) > 0).all() for one in found), "the score depends on every cell"


def test_the_deepest_layer_alone_is_refused_with_the_stages_before_it() -> None:
    """Its refined map would be that of the method that is combined, under another name."""
    net = make("resnet10t", 64).net
    with pytest.raises(LayerUnusable, match='no stage after layer "layer4"') as refusal:
        layer_stack(net, "layer4")
    assert refusal.value.fix == "Set `layer:` to one of layer1, layer2, layer3, or to `auto` for all of them."
    with pytest.raises(LayerUnusable, match='"conv1" is not a stage of'):
        layer_stack(net, "conv1")


def test_a_network_of_one_stage_is_refused() -> None:
    net = make("resnet10t", 64).net
    net.feature_info = [{"module": "layer4", "reduction": 32, "num_chs": 1}]
    with pytest.raises(LayerUnusable, match='no stage after layer "layer4"') as refusal:
        layer_stack(net)
    assert "Use the combined method itself" in refusal.value.fix


def test_a_stage_that_does_not_exist_is_refused_by_name() -> None:
    net = make("resnet10t", 64).net
    net.feature_info[1]["module"] = "stage1"  # type: ignore[union-attr, index]
    assert isinstance(net, nn.Module)
    with pytest.raises(LayerUnusable, match='has no layer "stage1"'):
        layer_stack(net)


@pytest.mark.parametrize(
    ("name", "options", "early", "middle"),
    [
        ("resnet10t", {}, "layer1", "layer3"),
        ("vit_tiny_patch16_224", {"depth": 12}, "blocks.0.norm1", "blocks.6.norm1"),
        ("densenet121", {}, "features.denseblock1", "features.denseblock3"),
        ("vgg11", {"mlp_ratio": 0.01}, "features.9", "features.19"),
    ],
)
def test_early_and_middle_are_the_first_stage_and_the_one_at_half_of_the_depth(
    name: str, options: dict[str, Any], early: str, middle: str
) -> None:
    net = make(name, 64, **options).net
    assert (resolve_layer(net, "early"), resolve_layer(net, "middle")) == (early, middle)


def test_a_network_of_one_stage_has_no_early_layer() -> None:
    net = make("resnet10t", 64).net
    net.feature_info = [{"module": "layer4", "reduction": 32, "num_chs": 1}]
    with pytest.raises(LayerUnusable, match='no stage before layer "layer4", so no layer is "early"'):
        resolve_layer(net, "early")
