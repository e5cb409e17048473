"""Define the contract of attribution methods and controls: their declarations and their inputs.

A method is one file. Its stem is the method's name, and it has a `METHOD` and a function `attribute`:

    METHOD = Method(needs=("layer",), grid="native", signed=False, backwards=1, cite="jiang2021")
    def attribute(tap: Tap, *, <options>) -> Tensor: ...                                        # (n, h, w)

`needs` lists the arguments of `attribute`, one per word, in this order.

    "layer"       a Tap: activation and gradient of one layer
    "curvature"   a Curvature: the second derivative of the score at that layer, along a direction
    "head"        a HeadInputs: scores of modified activations of that layer, without the layers before it
    "image"       an ImageInputs: the images, and the score and its gradient for any modified images
    "attention"   an Attention: every block's attention and its gradient
    "maps"        a LayerMaps: maps of the method named by the option `of`, at a layer and all deeper ones
    "nothing"     a ControlInputs: the images, the organ, and the grid of the study's layer; for controls

All of them describe one batch, with one target class per image. `requires` names the properties that a network must have
for the method to be defined. attribution/requirements.py checks them before any training, and refuses the method if one is
missing. `grid` is "native" (the layer's own) or "input" (the image's). `signed` states whether negative values have a
meaning. A count of passes is a number or a word: an option's name, "channels", "windows" (of occlusion), or "superpixels",
with a factor before it and a number added if needed ("steps + 2", "orders * superpixels + 1"). `limits` are conditions on
the options' names (config/options.py).
Maps are raw: only `metrics/maps/evaluate.py` rescales them.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from gradfaith.vocabulary import NEED_MODULES, SCORES, Grid, Score

Need = Literal["layer", "curvature", "head", "image", "attention", "maps", "nothing"]
Trait = Literal["linear_head", "relu", "rescale", "single_use", "chain", "attention"]
# Modules whose backward pass captum's classes for networks change.
RULED_MODULES = (
    nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax, nn.MaxPool2d,
)  # fmt: skip
ImageRows = Tensor  # (m,) indices of images: the original of each of m modified copies
# A slice of the m modified copies -> these copies, built when needed, so that they never all exist at once.
BuildCopies = Callable[[slice], Tensor]
# A name for the result, and a function of one image (c, h, w) -> a list of one result per image.
ComputePerImage = Callable[[Hashable, Callable[[Tensor], Any]], list[Any]]


@dataclass(frozen=True)
class Method:
    """The declaration of a method or control. The contract tests compare it with the code."""

    needs: tuple[Need, ...]
    grid: Grid
    signed: bool
    requires: tuple[Trait, ...] = ()
    forwards: int | str = 0  # complete forward passes per map, in addition to the bundle's shared one
    backwards: int | str = 0  # backward passes per map: through the head for a layer, to the image for an image
    head_passes: int | str = 0  # forward passes of the head alone, per map
    scores: tuple[Score, ...] = SCORES  # the scores that the method can explain
    seeded: bool = False  # draws random numbers from its generators
    targeted: bool = True  # the map depends on the explained class
    default_layer: str = ""  # a name in models/layers.py, used unless the study names a layer; "": the architecture's
    cite: str = ""
    differs: str = ""  # the difference to the source, in one sentence
    limits: tuple[str, ...] = ()  # conditions on its options: "steps >= 1"


@dataclass(frozen=True)
class Tap:
    """Activation and gradient of one layer, for one batch and one target class per image; shared by a bundle."""

    activation: Tensor  # (n, c, h, w)
    gradient: Tensor  # (n, c, h, w), of the target's score with respect to the activation
    score: Tensor  # (n,)
    channels_last: bool = False  # whether the layer itself returns (n, h, w, c)


@dataclass(frozen=True)
class Curvature:
    """Hessian-vector products: for each image, the second derivative of the score by the activation, times v."""

    hessian_product: Callable[[Tensor], Tensor]  # v (n, c, h, w) -> H v (n, c, h, w)


@dataclass(frozen=True)
class HeadInputs:
    """The part of the network that follows the layer."""

    # Index of the image, number m of copies, modified activations (m, c, h, w) -> their scores (m,).
    scores: Callable[[int, int, BuildCopies], Tensor]


@dataclass(frozen=True)
class ImageInputs:
    """Images, their target classes, and functions that run the model on modified copies of the images."""

    images: Tensor  # (n, c, h, w) in [0, 1]
    target: Tensor  # (n,)
    generators: Sequence[Generator]  # one per image, on the CPU: the same numbers on every device
    scores: Callable[[BuildCopies, ImageRows], Tensor]  # modified images (m, c, h, w) -> (m,)
    gradients: Callable[[BuildCopies, ImageRows], Tensor]  # modified images -> gradients of their scores (m, c, h, w)
    image_gradient: Callable[[], Tensor]  # (n, c, h, w) of the unchanged images, computed once for all methods
    network: nn.Module  # images -> a score for every class (n, k)
    mean: Tensor | None = None  # the grey that the network's normalisation subtracts
    per_image: ComputePerImage = field(kw_only=True)  # a result per image; methods that use the same name share it
    rows_at_once: int = field(kw_only=True)  # modified images that should exist at once; `scores` may cut them further


TokensRead = Literal["class", "patches"]  # which tokens a classifier reads


@dataclass(frozen=True)
class Attention:
    """The attention weights of every block of a transformer, and their gradients."""

    weights: Sequence[Tensor]  # per block (n, heads, t, t); each row sums to 1: the attention of one token to all
    gradients: Callable[[], Sequence[Tensor]]  # of the score by the weights; computed once for all methods
    prefix_tokens: int  # number of tokens before the patches: class, distillation, registers
    class_tokens: int  # number of them that a classifier with a class-token head reads
    tokens_read: TokensRead
    grid: tuple[int, int]  # of the patches

    def read_weights(self) -> Tensor:  # (1, t)
        """Return the weight of each token in the classifier's input; the weights sum to 1."""
        row = torch.zeros_like(self.weights[0][:1, 0, 0])
        read = slice(0, self.class_tokens) if self.tokens_read == "class" else slice(self.prefix_tokens, None)
        row[:, read] = 1 / row[:, read].shape[1]
        return row

    def patch_grid(self, row: Tensor) -> Tensor:  # (n, t) -> (n, h, w)
        """Return one value per token as a grid of patches."""
        return row[:, self.prefix_tokens :].reshape(len(row), *self.grid)


@dataclass(frozen=True)
class LayerMaps:
    """Maps of one method at several layers, from the configured layer to the deepest."""

    maps: Sequence[Tensor]  # each (n, h, w), on its own layer's grid
    image_size: tuple[int, int]  # height and width


@dataclass(frozen=True)
class ControlInputs:
    """The inputs of a control: the images, the organ and the grid of a layer, but not the model."""

    images: Tensor  # (n, c, h, w) in [0, 1]
    grid: tuple[int, int]  # of the study's layer
    generators: Sequence[Generator]  # one per image
    organ: Tensor | None = None  # (n, h, w) bool, if the dataset has it


@dataclass(frozen=True)
class MapsWithDiagnostics:
    """Maps with named diagnostics per image: a completeness error, a fit, a count."""

    maps: Tensor  # (n, h, w)
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)  # name -> (n,)


def target_score(logits: Tensor, target: Tensor, kind: Score) -> Tensor:  # (n, k), (n,) -> (n,)
    """Return the explained score: the target's logit, log-odds, margin over the best other class, or probability."""
    if kind == "probability":
        return logits.softmax(dim=1).gather(1, target[:, None])[:, 0]
    target_logit = logits.gather(1, target[:, None])[:, 0]
    if kind == "logit":
        return target_logit
    others = logits.scatter(1, target[:, None], -torch.inf)
    return target_logit - (others.logsumexp(dim=1) if kind == "log_odds" else others.amax(dim=1))


class ClassScores(nn.Module):
    """A module that maps images to a score for every class, for methods that need an `nn.Module`."""

    def __init__(self, classifier: nn.Module, kind: Score) -> None:
        super().__init__()
        self.classifier, self.kind = classifier, kind

    def forward(self, images: Tensor) -> Tensor:  # (n, c, h, w) -> (n, k)
        logits: Tensor = self.classifier(images)
        if self.kind == "logit":
            return logits
        classes = torch.arange(logits.shape[1], device=logits.device)
        return torch.stack([target_score(logits, c.expand(len(logits)), self.kind) for c in classes], dim=1)


def load_need(need: str) -> ModuleType:
    """Import the code of a need by name, so that only the maps of methods that have this need depend on it."""
    return import_module(f"gradfaith.{NEED_MODULES[need]}")
