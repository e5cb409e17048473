"""The larger sections of a study: image, architectures, training recipe, sanity check, meta-evaluation.

They are read while the DAG is built, so without torch. The weights of a model are bit-equal on a CPU for the same recipe,
seed, data and `threads`, which is why the number of compute threads belongs to the recipe and is not taken from the machine.
`RECIPE_VERSION` stands for what no key says: the training code.
"""

import re
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    StringConstraints,
    field_validator,
    model_validator,
)

from gradfaith.vocabulary import HIDDEN_CHARACTERS, CascadeOrder, Fit

LABEL_PATTERN, LABEL_LENGTH = r"^[a-z0-9][a-z0-9_-]*$", 64
Label = Annotated[str, StringConstraints(pattern=LABEL_PATTERN, max_length=LABEL_LENGTH)]  # part of paths
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["float32", "bf16"]  # of passes that only answer
KEYS_ADDED_LATER = frozenset(  # keys that came when models had been trained already
    {"mixup", "freeze", "layer_decay", "clip", "ema", "patience", "accumulate", "precision", "channels_last", "compile"}
)


def _visible(text: str) -> str:
    if hidden := re.search(rf"[{HIDDEN_CHARACTERS}]", text):
        raise ValueError(f"one line of visible characters, found {hidden[0]!a} in it")
    return text


Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(_visible)]  # shown, never part of paths


class StrictModel(BaseModel):
    """Unknown keys are refused; values do not change once read. Built when it is first used: a job uses few of all models."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class DatasetUse(StrictModel):
    """Which dataset, and what this study changes of its options."""

    name: Label = Field(description="a file in config/datasets/, without `.yaml`")
    options: dict[str, Any] = Field(default_factory=dict, description="options of its reader that this study overrides")
    source: str = Field(
        "", description="a folder (read in place) or an archive with the images, instead of the dataset's own sources"
    )
    max_bad_files: int = Field(
        0, ge=0, le=1_000_000_000, description="unreadable images that are left out and listed; more stop the study"
    )


class Training(StrictModel):
    """The recipe: all that decides the weights, with the architecture and the seed."""

    epochs: int = Field(ge=1, le=1_000_000, description="passes over the training part")
    batch: int = Field(32, ge=1, le=1_000_000, description="images per step")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decay")
    warmup_epochs: float = Field(2.0, ge=0, description="epochs of linear warm-up before the cosine")
    label_smoothing: Share = Field(0.0, description="share of the label given to the other classes")
    class_weights: bool = Field(True, description="weight classes by the inverse of their frequency")
    group_weights: bool = Field(
        False,
        description="weight images by the inverse of their group's size within its class, so that no patient dominates",
    )
    max_slices_per_group: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="largest number of training images of a group in each class, evenly spaced (1: the middle one); empty: all",
    )
    flip: bool = Field(True, description="augmentation: mirror left and right, every second image")
    shift: Share = Field(0.05, description="augmentation: largest shift, as a share of the side")
    rotate: float = Field(10.0, ge=0, le=180, description="augmentation: largest rotation, in degrees")
    scale: Share = Field(0.0, description="augmentation: largest zoom, between 1 / (1 + scale) and 1 + scale")
    contrast: Share = Field(0.1, description="augmentation: largest change of contrast, as a share")
    mixup: float = Field(
        0.0, ge=0, description="blend images in pairs, in shares drawn from Beta(mixup, mixup); 0: off"
    )
    freeze: Annotated[int, Field(ge=0)] | Literal["backbone"] = Field(
        0,
        description="number of first groups of layers (the stem, then stage by stage) that keep their start weights; "
        "`backbone`: all layers except the head",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor of the learning rate from a group of layers to the one before; 1: all equal",
    )
    clip: float = Field(
        0.0,
        ge=0,
        description="largest norm of the gradient of all weights together; a longer gradient is scaled down. 0: no limit",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per step of an average of the weights, which is validated and kept instead of the weights; 0: off",
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="stop after this number of epochs without improvement; empty: train all epochs",
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="pieces in which a batch is computed, to save memory; no piece has a single image. Batch norms and dropout act per piece",
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        "float32", description="of training passes; weights and validation are float32. fp16 needs a CUDA device"
    )
    channels_last: Literal["auto"] | bool = Field(
        "auto",
        description="train in channels_last memory order; auto: for the timm modules and devices on which it was measured to be faster",
    )
    compile: bool = Field(False, description="train with torch.compile, which needs a compiler where the job runs")
    threads: int = Field(
        1, ge=1, le=4_096, description="number of compute threads; weights are bit-identical at the same number"
    )
    weights: Literal["none", "pretrained"] = Field(
        "none",
        description="start weights: random, or timm's pretrained ones; `weights` of an architecture overrides it",
    )

    @model_validator(mode="after")
    def _pieces(self) -> "Training":
        if self.accumulate > self.batch:
            raise ValueError(f"accumulate: {self.accumulate} pieces of a batch of {self.batch} would leave some empty")
        return self

    @model_validator(mode="after")
    def _warmed_up(self) -> "Training":
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs:g} of {self.epochs} epochs would never reach `lr`; use at most {self.epochs}"
            )
        return self


# Bump when training code, or the table of models/speed.py, changes numbers: the golden run in the tests detects it.
RECIPE_VERSION = 3


@dataclass(frozen=True)
class Recipe:
    """AdamW with a linear warm-up and a cosine to zero, per step; a change of zero is switched off."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # where it is a part of a model

    epochs: int
    batch: int = 32
    lr: float = 1e-3  # the highest
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    class_weights: bool = False  # the loss of an image is weighted by the rarity of its class
    group_weights: bool = False  # and by the inverse of its group's size within the class
    max_slices_per_group: int | None = None  # at most this number of images per group and class, evenly spaced
    flip: bool = True  # left to right, every second image
    shift: float = 0.05  # at most this share of the side, either way
    rotate: float = 5.0  # at most this many degrees, either way
    scale: float = 0.0  # a zoom between 1 / (1 + scale) and 1 + scale
    contrast: float = 0.1  # contrast and brightness each times 1 - contrast .. 1 + contrast
    mixup: float = 0.0  # images are blended in pairs, in shares drawn from Beta(mixup, mixup)
    freeze: int | Literal["backbone"] = 0  # this number of first groups of layers keep their initial weights
    layer_decay: float = 1.0  # of the learning rate, from each group of layers to the one before it
    clip: float = 0.0  # the largest norm of all gradients together; a longer one is scaled down to it
    ema: float = 0.0  # decay of the average of the weights, which is then what is validated and kept
    patience: int | None = None  # epochs without a better one after which training stops
    accumulate: int = 1  # pieces that a batch is computed in, one after another
    precision: Literal["float32", "bf16", "fp16"] = "float32"  # of the passes in training; weights are float32 always
    channels_last: Literal["auto"] | bool = "auto"  # another order of memory
    compile: bool = False  # through torch.compile
    threads: int = 1  # compute threads; another number gives weights that differ in the last bits
    recipe_version: int = RECIPE_VERSION

    def to_dict(self) -> dict[str, Any]:
        """The plain values, for the card of a model."""
        return asdict(self)

    def deciding(self) -> dict[str, Any]:
        """All that decides the weights, without its version; a later key at its default is left out, as it changed nothing."""
        default = {field.name: field.default for field in fields(self)}
        return {
            key: value
            for key, value in self.to_dict().items()
            if key != "recipe_version" and (key not in KEYS_ADDED_LATER or value != default[key])
        }


class Inference(StrictModel):
    """How a network computes where it only answers: predictions, maps and scores."""

    channels_last: Literal["auto"] | bool = Field(
        "auto",
        description="use channels_last memory order; auto: for the timm modules and devices on which it was measured to be faster",
    )
    fold_batch_norm: Literal["auto"] | bool = Field(
        "auto", description="fold batch norms into the convolutions before them; auto: as for channels_last"
    )


class Passes(Inference):
    """How a network computes in one job."""

    precision: Precision = "float32"


class Harmonise(StrictModel):
    """What takes the scanner's signature off the pixels, in this order, at the study's size; masks stay as they are."""

    low_pass: float = Field(0.0, ge=0, le=16, description="standard deviation of a Gaussian blur, in pixels; 0: off")
    resample: int | None = Field(None, ge=16, le=8_192, description="scale down to this side and back up; empty: off")
    jpeg: int | None = Field(None, ge=1, le=100, description="quality of one JPEG compression; empty: off")


class Image(StrictModel):
    """How an image becomes a tensor."""

    size: int = Field(224, ge=32, le=1024, description="side of the square image, in pixels")
    fit: Fit = Field(
        "pad", description="how images become square: pad with the image's own border value, or crop the centre"
    )
    channels: Literal[1, 3] = Field(1, description="1: grey, 3: colour")
    harmonise: Harmonise = Field(default_factory=Harmonise, description="remove traces of the scanner; off by default")
    mean: Literal["train"] | Share | tuple[Share, Share, Share] = Field(
        "train",
        description="subtracted from pixels in [0, 1]: one number, or one per colour; `train`: the mean of the training part",
    )
    std: Literal["train"] | PositiveFloat | tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        "train", description="divisor of the pixels; `train`: the standard deviation of the training part"
    )

    @model_validator(mode="after")
    def _a_number_per_colour_needs_colour(self) -> "Image":
        if self.channels == 1 and (isinstance(self.mean, tuple) or isinstance(self.std, tuple)):
            raise ValueError("mean and std have one number per colour, but `channels` is 1")
        return self


class Randomisation(StrictModel):
    """Weights replaced by random ones, cascading; every method of a bundle explains the same images again."""

    steps: int = Field(4, ge=1, le=50, description="groups into which the network's modules are divided")
    orders: list[CascadeOrder] = Field(
        default=["top_down", "bottom_up"],
        min_length=1,
        description="where the replacement begins: `top_down` at the head, `bottom_up` at the image",
    )
    max_images: int | None = Field(
        48,
        ge=1,
        le=1_000_000_000,
        description="largest number of the explained images, drawn evenly from the groups; empty: all",
    )
    bundles: list[str] = Field(default=[], description="bundles that are tested; empty: all but the controls")

    @field_validator("orders", "bundles")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError(f"each once, found {', '.join(names)}")
        return names


class Meta(StrictModel):
    """Evaluation of the metrics: their rank agreement with a localization metric, and the controls that score above methods."""

    truth: list[str] = Field(
        default=["saliency_score"],
        min_length=1,
        description="localization metrics of the study, or a composite such as funnybirds_score; the first is primary",
    )
    against: str = Field("", description="compare every other metric with this one, image by image; empty: off")

    @field_validator("truth")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError(f"each once, found {', '.join(names)}")
        return names
