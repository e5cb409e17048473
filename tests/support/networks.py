"""Small networks of every family that methods must be right on, and what is true of each: written by hand, not computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier

SIZE = 64


@dataclass(frozen=True)
class Network:
    """A timm name, made narrow, and the traits it has."""

    timm: str
    own_traits: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 1  # of weights with which no class's map is all zero
    size: int = SIZE

    @property
    def traits(self) -> frozenset[str]:
        return self.own_traits | {"single_use"}  # of all of them


NARROW = {"depth": 4, "embed_dim": 48, "num_heads": 2}
NETWORKS = {
    "resnet": Network("resnet10t", frozenset({"linear_head", "relu", "rescale"}), {"channels": [8, 12, 16, 24], "stem_width": 8}, 10),
    "densenet": Network("densenet121", frozenset({"linear_head", "relu", "rescale"}), {"growth_rate": 8, "block_config": [2, 2, 2]}),
    "efficientnet": Network("test_efficientnet", frozenset({"linear_head"}), seed=4),
    "convnext": Network("convnext_atto", options={"dims": (8, 12, 16, 24), "depths": (1, 1, 1, 1)}, seed=12),
    "vgg": Network("vgg11", frozenset({"relu", "rescale"}), {"mlp_ratio": 0.005}, 3),
    "vit": Network("vit_tiny_patch16_224", frozenset({"attention"}), NARROW | {"patch_size": 8}),
    "vit_without_class_token": Network("vit_base_patch16_gap_224", frozenset({"attention"}), NARROW | {"patch_size": 8}),
    "swin": Network("swin_tiny_patch4_window7_224", options={"embed_dim": 24, "depths": (1, 1, 2, 1), "window_size": 2}, seed=8),
    "hybrid": Network("test_coatnet", seed=5),
    "levit": Network(
        "levit_conv_128s", frozenset({"linear_head"}), {"embed_dim": [32, 48], "num_heads": [2, 2], "depth": [1, 1], "key_dim": 8}, 3,
    ),
}  # fmt: skip


# Below its own size a VGG pools between its convolutions and its head, and that is no module: only a whole one is a chain.
CHAINS = {
    "vgg_at_its_size": Network("vgg11", frozenset({"relu", "rescale", "chain"}), {"mlp_ratio": 0.005}, size=224),
    "mobilenet": Network("mobilenetv1_100", frozenset({"linear_head", "relu", "rescale", "chain"}), {"act_layer": "relu"}),
}  # fmt: skip
EVERY = NETWORKS | CHAINS


@cache
def network(name: str) -> Classifier:
    """In double precision, every weight alive, batch norms with statistics of their own."""
    asked = EVERY[name]
    classifier = build_classifier(
        ClassifierSpec(asked.timm, 3, 1, 3, asked.size, 0.5, 0.25, dict(asked.options)), seed=asked.seed
    ).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in classifier.parameters():
            if parameter.std() == 0 or not parameter.any():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.double))
        for _ in range(2):
            classifier.train()(torch.rand(4, 1, asked.size, asked.size, generator=generator, dtype=torch.double))
    return classifier.eval()
