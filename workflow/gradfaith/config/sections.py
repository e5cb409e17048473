"""What a study says of its images: their size, what takes a scanner's signature off them, how they are normalised.

The sanity checks, as a study asks for them: of methods, by models that have forgotten; of metrics, by evidence that is known.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from gradfaith.config.training import Share, StrictModel


class Harmonise(StrictModel):
    """What takes the scanner's signature off the pixels, in this order, at the study's size; masks stay as they are."""

    low_pass: float = Field(0.0, ge=0, le=16, description="standard deviation of a Gaussian blur, in pixels; 0: none")
    resample: int | None = Field(None, ge=16, description="side to scale down to and back from; empty: not")
    jpeg: int | None = Field(None, ge=1, le=100, description="quality of a JPEG to write and read again; empty: not")


class Image(StrictModel):
    """How an image becomes a tensor."""

    size: int = Field(224, ge=32, le=1024, description="side of the square image, in pixels")
    fit: Literal["pad", "crop"] = Field(
        "pad", description="how another aspect becomes square: pad with its own border value, or crop the centre"
    )
    channels: Literal[1, 3] = Field(1, description="1: grey, 3: colour")
    harmonise: Harmonise = Field(default_factory=Harmonise, description="against scanner shortcuts; nothing by default")
    mean: Literal["train"] | Share = Field(
        "train", description="subtracted in [0, 1]; `train`: the training part's own mean"
    )
    std: Literal["train"] | Annotated[float, Field(gt=0)] = Field(
        "train", description="divided by; `train`: the training part's own"
    )


class Randomisation(StrictModel):
    """Weights replaced by random ones, cascading; every method of a bundle explains the same images again."""

    steps: int = Field(4, ge=1, le=50, description="the network's modules are cut into so many nearly equal groups")
    orders: list[Literal["top_down", "bottom_up"]] = Field(
        default=["top_down", "bottom_up"],
        min_length=1,
        description="where replacing begins: at the head, or at the image",
    )
    max_images: int | None = Field(
        48, ge=1, description="at most so many of the explained images, drawn evenly from the groups; empty: all"
    )
    bundles: list[str] = Field(default=[], description="bundles whose methods are asked; empty: all but the controls")

    @field_validator("orders", "bundles")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError(f"each once, found {', '.join(names)}")
        return names


class Meta(StrictModel):
    """Metrics judged by evidence: do they rank methods as a localization metric does, and are they fooled by controls?"""

    truth: list[str] = Field(
        default=["saliency_score"],
        min_length=1,
        description="localization metrics of the study that say how good a map is; the first is the primary one",
    )
    against: str = Field("", description="a metric that every other is compared with, image by image; empty: none")

    @field_validator("truth")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError(f"each once, found {', '.join(names)}")
        return names
