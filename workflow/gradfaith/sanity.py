"""The sanity checks, as a study asks for them: of methods, by models that have forgotten; of metrics, by evidence that is known."""

from typing import Literal

from pydantic import Field, field_validator

from gradfaith.training import Closed


class Randomisation(Closed):
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


class Meta(Closed):
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
