"""What a study says of its images: their size, what takes a scanner's signature off them, how they are normalised."""

from typing import Annotated, Literal

from pydantic import Field

from gradfaith.training import Closed, Share


class Harmonise(Closed):
    """What takes the scanner's signature off the pixels, in this order, at the study's size; masks stay as they are."""

    low_pass: float = Field(0.0, ge=0, le=16, description="standard deviation of a Gaussian blur, in pixels; 0: none")
    resample: int | None = Field(None, ge=16, description="side to scale down to and back from; empty: not")
    jpeg: int | None = Field(None, ge=1, le=100, description="quality of a JPEG to write and read again; empty: not")


class Image(Closed):
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
