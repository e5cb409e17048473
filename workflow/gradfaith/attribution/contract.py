"""What an attribution method is: a file whose stem is its name, a `METHOD`, and `attribute`.

    METHOD = Method(needs=("layer",), grid="native", signed=False, backwards=1, cite="jiang2021")
    def attribute(tap: Tap, *, <options>) -> Tensor: ...                                        # (n, h, w)

`needs` says what `attribute` receives, one argument for each word, in this order:

    "layer"       a Tap: activation and gradient of one layer
    "curvature"   a Curvature: the second derivative of the score at that layer, along a direction
    "head"        a Head: the scores of changed activations of that layer, without what comes before it
    "image"       an Asked: the images, and the score and its gradient for any changed images
    "attention"   an Attention: every block's attention and its gradient
    "maps"        Layered: the maps of the method named by the option `of`, at a layer and all deeper ones
    "nothing"     a Scene: the images, the organ, and the grid of the study's layer; for controls

All are of one batch and one target class per image. `requires` names what a network must be for the method to be
defined (attribution/requirements.py tells whether it is); elsewhere the method is refused before anything is trained. `grid` is
"native" (the layer's own) or "input" (the image's); `signed` says whether negative values mean something. A count of
passes is a number, or a word: an option's name, "channels", or "windows" (of occlusion), where need be with a number
added ("steps + 2"). `limits` are what options must keep, as conditions on their names (config/options.py). The maps are raw: nobody
rescales before `metrics/maps/evaluate.py`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from gradfaith.vocabulary import Grid, Score

Need = Literal["layer", "curvature", "head", "image", "attention", "maps", "nothing"]
Trait = Literal["linear_head", "relu", "rescale", "chain", "attention"]
Rows = Tensor  # (m,) the image that each of m changed copies is a copy of
Build = Callable[
    [slice], Tensor
]  # some of the m copies, made when they are needed, so that they need not exist at once
Each = Callable[
    [Hashable, Callable[[Tensor], Any]], list[Any]
]  # a name, and how it is made of (c, h, w) -> one per image


@dataclass(frozen=True)
class Method:
    """What is declared about a method, and tested from the declaration."""

    needs: tuple[Need, ...]
    grid: Grid
    signed: bool
    requires: tuple[Trait, ...] = ()
    forwards: int | str = 0  # whole forward passes per map, beyond the one the bundle shares
    backwards: int | str = 0  # per map: through the head only for a layer, to the image for an image
    heads: int | str = 0  # forward passes of the head alone, per map
    scores: tuple[Score, ...] = ("logit", "log_odds", "margin")  # what of the answer it can explain
    seeded: bool = False  # draws random numbers, from the generators it is given
    targeted: bool = True  # the map depends on the class it explains
    at: str = ""  # the layer it taps unless the study names one, a word of models/layers.py; else the architecture's
    cite: str = ""
    differs: str = ""  # where we differ from the source, in one sentence
    limits: tuple[str, ...] = ()  # what its options must keep: "steps >= 1"


@dataclass(frozen=True)
class Tap:
    """What the methods of a bundle share: one layer, one batch, one target class per image."""

    activation: Tensor  # (n, c, h, w)
    gradient: Tensor  # (n, c, h, w), of the target's score with respect to the activation
    score: Tensor  # (n,)


@dataclass(frozen=True)
class Curvature:
    """H v for each image: the score's second derivative with respect to the activation, along v."""

    along: Callable[[Tensor], Tensor]  # (n, c, h, w) -> (n, c, h, w)


@dataclass(frozen=True)
class Head:
    """The network from the layer on."""

    scores: Callable[[int, int, Build], Tensor]  # which image, how many, changed activations (m, c, h, w) -> (m,)


@dataclass(frozen=True)
class Asked:
    """The images and the classes that are asked for, and a model that answers."""

    images: Tensor  # (n, c, h, w) in [0, 1]
    target: Tensor  # (n,)
    generators: Sequence[Generator]  # one per image, drawing on the CPU: the same numbers on every device
    scores: Callable[[Build, Rows], Tensor]  # changed images (m, c, h, w) -> (m,)
    gradients: Callable[[Build, Rows], Tensor]  # changed images -> gradients of their scores (m, c, h, w)
    slope: Callable[[], Tensor]  # (n, c, h, w) the gradients of the unchanged images, computed once for all methods
    network: nn.Module  # images -> a score for every class (n, k)
    mean: Tensor | None = None  # the grey that the network's normalisation takes away
    each: Each = field(kw_only=True)  # what is made of every image alone, once for all methods that name it alike


@dataclass(frozen=True)
class Attention:
    """What every block of a transformer attends to."""

    weights: Sequence[Tensor]  # per block (n, heads, t, t); a row says where a token looks
    gradients: Callable[[], Sequence[Tensor]]  # of the score, as large; computed once for all methods
    prefix: int  # tokens before the patches: class, distillation, registers
    leading: int  # of these, so many are read by a classifier that reads the class token
    read: Literal["class", "patches"]  # which tokens the classifier reads
    grid: tuple[int, int]

    def reader(self) -> Tensor:  # (1, t)
        """The share of each token in what the classifier reads."""
        row = torch.zeros_like(self.weights[0][:1, 0, 0])
        read = slice(0, self.leading) if self.read == "class" else slice(self.prefix, None)
        row[:, read] = 1 / row[:, read].shape[1]
        return row

    def patches(self, row: Tensor) -> Tensor:  # (n, t) -> (n, h, w)
        return row[:, self.prefix :].reshape(len(row), *self.grid)


@dataclass(frozen=True)
class Layered:
    """Maps of one method at several layers, from the one asked for to the deepest."""

    maps: Sequence[Tensor]  # each (n, h, w), on its own layer's grid
    size: tuple[int, int]  # of the image


@dataclass(frozen=True)
class Scene:
    """What a control may know: the picture, the organ and the grid, nothing of the model."""

    images: Tensor  # (n, c, h, w) in [0, 1]
    grid: tuple[int, int]  # of the layer the study taps
    generators: Sequence[Generator]  # one per image
    organ: Tensor | None = None  # (n, h, w) bool, where the dataset knows it


@dataclass(frozen=True)
class Noted:
    """Maps, with a number per image that says how far each can be trusted: a completeness error, a fit, a count."""

    maps: Tensor  # (n, h, w)
    notes: Mapping[str, Tensor] = field(default_factory=dict)  # each (n,)


def score(logits: Tensor, target: Tensor, kind: Score) -> Tensor:  # (n, k), (n,) -> (n,)
    """What a map explains: the class's logit, its log-odds, or its margin over the best other class."""
    own = logits.gather(1, target[:, None])[:, 0]
    if kind == "logit":
        return own
    others = logits.scatter(1, target[:, None], -torch.inf)
    return own - (others.logsumexp(dim=1) if kind == "log_odds" else others.amax(dim=1))
