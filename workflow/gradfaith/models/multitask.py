"""Train a decoder beside the classifier: a second output that reconstructs the mask of the evidence, or the image [pham2025].

    features = net.forward_features(x),   logits = net.forward_head(features),   z = decoder(features)
    loss     = CE(logits, class) + weight * L(z, target)
    L        = bce: mean binary cross-entropy of sigmoid(z)      mse: mean (z - target)^2, as in the paper's code
    target   = mask: 1 on the evidence, 0 elsewhere and in images without evidence      image: the pixels in [0, 1]

A stage doubles the side: transposed convolution (4, stride 2) - batch norm - ReLU - convolution (3) - batch norm - ReLU. The
stages have WIDTHS times the declared width at the most, and at least SMALLEST channels: 16, 32, 16, 8, 4 for the width 16, as
in the paper's code. A last convolution gives one channel, or those of the image. The encoder and the head are the network
itself, so the classifier answers and is explained without its decoder; `checkpoint.load` leaves the decoder out.

The paper's text and its equation differ: the text reconstructs the image, the equation and the code the mask. The text has a
binary cross-entropy, the code a squared error of raw outputs. All four can be set. With weight 0 the decoder is not run: the
weights of the network are those of an ordinary training, bit by bit. Cost: about a fifth of the encoder's passes for
EfficientNet-B0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradfaith import rng
from gradfaith.config.architecture import DecoderSettings
from gradfaith.errors import ModelUnusable
from gradfaith.models.layers import freeze_temporarily

WIDTHS, SMALLEST = (1.0, 0.5, 0.25, 0.125, 0.0625), (1, 32, 16, 8, 4)


@dataclass(frozen=True)
class SplitLosses:
    """What the kept weights reach on one part of the split, without augmentation."""

    images: int
    class_loss: float  # cross-entropy, unweighted
    decoder_loss: float | None  # None: the decoder is not trained
    total_loss: float
    balanced_accuracy: float

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, decoder_loss: float | None, settings: DecoderSettings) -> "SplitLosses":
        """Summarise the logits (n, classes) of a part and the mean loss of its reconstructions."""
        class_loss = float(functional.cross_entropy(logits, labels))
        total = class_loss + (settings.weight * decoder_loss if decoder_loss is not None else 0.0)
        return cls(len(labels), class_loss, decoder_loss, total, balanced_accuracy(logits, labels))


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the mean recall over the classes that have an image."""
    correct = (logits.argmax(dim=1) == labels).float()
    recalls = [correct[labels == label].mean() for label in torch.unique(labels)]
    return float(torch.stack(recalls).mean())


def decoder_loss(settings: DecoderSettings, outputs: Tensor, target: Tensor) -> Tensor:  # both (n, c, h, w)
    """Return the mean loss of reconstructions over all images and pixels."""
    if settings.loss == "mse":
        return functional.mse_loss(outputs, target)
    return functional.binary_cross_entropy_with_logits(outputs, target)


def build_decoder(
    net: nn.Module, settings: DecoderSettings, *, name: str, size: int, channels: int, seed: int
) -> nn.Sequential:
    """Build the decoder of a network with random weights, from its feature map up to images of `size`.

    `channels`: of the images that the network reads. torch's global generator is not used.
    """
    depth, side = _feature_shape(net, name, size, channels)
    stages = (size // side).bit_length() - 1
    if side << stages != size or stages > len(WIDTHS):
        raise ModelUnusable(
            problem=f"{name} has a feature map of {side} x {side} for images of {size} pixels.",
            reason=f"A decoder doubles the side at most {len(WIDTHS)} times and must end at the size of the image.",
            fix="Set `image.size` to a multiple of 32, such as 96 or 224, or remove `decoder` from this architecture.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng.seed(seed, "decoder"))
        widths = [max(int(settings.width * share), least) for share, least in zip(WIDTHS, SMALLEST, strict=True)][
            :stages
        ]
        ends = [depth, *widths]
        layers = [_stage(before, after) for before, after in zip(ends, widths, strict=False)]
        out = 1 if settings.target == "mask" else channels
        return nn.Sequential(*layers, nn.Conv2d(ends[-1], out, 3, padding=1))


def _stage(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _feature_shape(net: nn.Module, name: str, size: int, channels: int) -> tuple[int, int]:
    """Return the channels and the side of the map from which the head reads."""
    encoder = getattr(net, "forward_features", None)
    if encoder is None or not hasattr(net, "forward_head"):
        raise _no_feature_map(name, "it has no forward_features and forward_head")
    with freeze_temporarily(net), torch.no_grad():
        device = next(net.parameters()).device
        features = encoder(torch.zeros(1, channels, size, size, device=device))
    if not isinstance(features, Tensor) or features.ndim != 4 or features.shape[2] != features.shape[3]:
        shape = tuple(features.shape[1:]) if isinstance(features, Tensor) else type(features).__name__
        raise _no_feature_map(name, f"its features are {shape}, not channels x side x side")
    return features.shape[1], features.shape[2]


def _no_feature_map(name: str, why: str) -> ModelUnusable:
    return ModelUnusable(
        problem=f"{name} cannot have a decoder: {why}.",
        reason="The decoder reads the feature map of a convolutional network, which timm gives by forward_features.",
        fix="Remove `decoder` from this architecture, or use a convolutional network of timm.",
    )


def losses_to_json(losses: Mapping[str, SplitLosses]) -> dict[str, dict[str, float | int | None]]:
    """Return the losses of all parts as plain values for a card."""
    return {part: dict(vars(of_part)) for part, of_part in losses.items()}
