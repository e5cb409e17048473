"""What an attribution method is: a file whose stem is its name, a `METHOD`, and `attribute`.

    METHOD = Method(needs="layer", grid="native", signed=False, backwards=1, cite="jiang2021")
    def attribute(tap: Tap, *, <options>) -> Tensor: ...                                        # (n, h, w)

`needs` says what `attribute` receives:

    "layer"    a Tap: activation and gradient of one layer, for one batch and one target per image
    "nothing"  a Scene: the images and the grid of the study's layer, and one generator per image; for controls

`grid` is "native" (the layer's own) or "input" (the image's); `signed` says whether negative values mean something.
The maps are raw: nobody rescales before `metrics/evaluated.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Generator, Tensor

Needs = Literal["layer", "nothing"]
Grid = Literal["native", "input"]


@dataclass(frozen=True)
class Method:
    """What is declared about a method, and tested from the declaration."""

    needs: Needs
    grid: Grid
    signed: bool
    forwards: int = 0  # per image, beyond the one the bundle shares
    backwards: int = 0  # per image and target, through the head only
    seeded: bool = False  # draws random numbers, from the generators it is given
    cite: str = ""
    differs: str = ""  # where we differ from the source, in one sentence


@dataclass(frozen=True)
class Tap:
    """What the methods of a bundle share: one layer, one batch, one target class per image."""

    activation: Tensor  # (n, c, h, w)
    gradient: Tensor  # (n, c, h, w), of the target's score with respect to the activation
    score: Tensor  # (n,), the target's logit


@dataclass(frozen=True)
class Scene:
    """What a control may know: the picture and the grid, nothing of the model."""

    images: Tensor  # (n, c, h, w) in [0, 1]
    grid: tuple[int, int]  # of the layer the study taps
    generators: Sequence[Generator]  # one per image
