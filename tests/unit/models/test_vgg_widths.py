"""A VGG of any widths: the layers that were asked for, and timm's own VGG unchanged after it."""

import pytest
import torch

from gradfaith.models.timm_import import timm

NARROW = [4, "M", 6, "M", 8, 8, "M", 10, 10, "M", 12, 12, "M"]


def test_the_widths_are_those_of_the_convolutions() -> None:
    net = timm.create_model("vgg11", num_classes=3, cfg=NARROW, mlp_ratio=0.01)
    convolutions = [layer for layer in net.features if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [4, 6, 8, 8, 10, 10, 12, 12]
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_timm_builds_its_own_vgg_afterwards_also_after_an_error() -> None:
    with pytest.raises(TypeError):
        timm.create_model("vgg11", cfg=NARROW, no_such_option=1)
    with torch.device("meta"):
        convolutions = [layer for layer in timm.create_model("vgg11").features if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 256, 512, 512, 512, 512]
