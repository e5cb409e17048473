"""The sizes of the five networks on the page of GradFaith-CAM: four with ImageNet's head, the transformer without it."""

import pytest
import torch

from gradfaith.models.timm_import import timm

PAGE = {  # millions as the page prints them; outputs with which they are met
    "resnet50": ("25.6", 1000),
    "resnet101": ("44.5", 1000),
    "densenet161": ("28.7", 1000),
    "efficientnet_b0": ("5.3", 1000),
    "vit_base_patch16_224": ("86", 3),  # 86.6 million with ImageNet's head
}


@pytest.mark.parametrize("name", PAGE)
def test_parameters_round_to_the_digits_of_the_page(name: str) -> None:
    printed, outputs = PAGE[name]
    with torch.device("meta"):
        size = {n: sum(one.numel() for one in timm.create_model(name, num_classes=n).parameters()) for n in (3, 1000)}
    digits = len(printed.partition(".")[2])
    assert f"{size[outputs] / 1e6:.{digits}f}" == printed
    assert f"{size[1003 - outputs] / 1e6:.{digits}f}" != printed
