"""How a model is trained: every number of it, and a version for what no number says.

The weights are bit-equal on a CPU for the same recipe, seed, data and `threads`, which is why the number of compute
threads belongs to the recipe and is not taken from the machine.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from gradfaith.errors import StudyInvalid

RECIPE_VERSION = 2  # bump when training code changes numbers: the golden run in the tests says when


@dataclass(frozen=True)
class Recipe:
    """AdamW with a linear warm-up and a cosine to zero, per step; a change of zero is switched off."""

    epochs: int
    batch: int = 32
    lr: float = 1e-3  # the highest
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    class_weights: bool = False  # the loss of an image is weighed by the rarity of its class
    group_weights: bool = False  # and by the inverse of its group's size within the class
    max_slices_per_group: int | None = (
        None  # of each group and class so many images at most, evenly spaced, are trained on
    )
    flip: bool = True  # left to right, every second image
    shift: float = 0.05  # at most this share of the side, either way
    rotate: float = 5.0  # at most this many degrees, either way
    scale: float = 0.0  # a zoom between 1 / (1 + scale) and 1 + scale
    contrast: float = 0.1  # contrast and brightness each times 1 - contrast .. 1 + contrast
    mixup: float = 0.0  # images are blended in pairs, in shares drawn from Beta(mixup, mixup)
    freeze: int | Literal["backbone"] = 0  # so many of the first groups of layers keep the weights they start with
    layer_decay: float = 1.0  # of the learning rate, from each group of layers to the one before it
    clip: float = 0.0  # the largest norm of all gradients together; a longer one is scaled down to it
    ema: float = 0.0  # decay of the average of the weights, which is then what is validated and kept
    patience: int | None = None  # epochs without a better one after which training stops
    accumulate: int = 1  # pieces that a batch is computed in, one after another
    precision: Literal["float32", "bf16", "fp16"] = "float32"  # of the passes in training; weights are float32 always
    channels_last: bool = False  # another order of memory
    compile: bool = False  # through torch.compile
    threads: int = 1  # compute threads; another number gives weights that differ in the last bits
    recipe_version: int = RECIPE_VERSION

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A recipe from plain values; a key nobody reads is refused."""
        names = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise StudyInvalid(
                found=f"the recipe has the unknown key {', '.join(unknown)}.",
                why="A key nobody reads would be a wish silently ignored.",
                then=f"Use only {', '.join(names)}.",
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The plain values, for the card of a model."""
        return asdict(self)
