"""The model-parameter sanity check, as a study asks for it: how weights are randomised, and which methods explain again."""

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
