"""Which images are explained: some parts of the split, perhaps only correct ones, perhaps a number drawn evenly from the groups."""

from collections.abc import Sequence

import pandas as pd

from gradfaith import rng
from gradfaith.errors import StudyInvalid


def explained(
    predictions: pd.DataFrame, *, parts: Sequence[str], max_images: int | None, only_correct: bool, seed: int
) -> pd.DataFrame:
    """The rows of the predictions that are explained, in their order.

    With `max_images`, groups take turns and each gives its images in a seeded order, so that every model of the study explains
    the same images where `only_correct` is false.
    """
    chosen = predictions[predictions["part"].isin(parts)]
    if only_correct:
        chosen = chosen[chosen["correct"]]
    if chosen.empty:
        raise StudyInvalid(
            found=f"explain: of parts {', '.join(parts)} no image is left{' that the model gets right' if only_correct else ''}.",
            why="Maps of no image measure nothing.",
            then="Name a part that has images, or set explain.only_correct to false.",
        )
    return evenly(chosen, max_images, seed)


def evenly(chosen: pd.DataFrame, most: int | None, seed: int) -> pd.DataFrame:
    """At most so many rows, in their order; a smaller number takes a part of what a larger one takes."""
    if most is None or len(chosen) <= most:
        return chosen.reset_index(drop=True)
    lot = chosen["image_id"].map(lambda image: rng.seed(seed, "explain", image))
    turn = lot.groupby(chosen["group"]).rank(method="first")
    order = pd.DataFrame({"turn": turn, "lot": lot}).sort_values(["turn", "lot"]).index[:most]
    return chosen.loc[sorted(order)].reset_index(drop=True)
