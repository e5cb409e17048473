"""Select the images to explain: parts of the split, optionally only correct ones or a number drawn evenly by group."""

from collections.abc import Sequence

import pandas as pd

from gradfaith import rng
from gradfaith.errors import StudyInvalid


def select_images(
    predictions: pd.DataFrame, *, parts: Sequence[str], max_images: int | None, only_correct: bool, seed: int
) -> pd.DataFrame:
    """Return the rows of the predictions that are explained, in their order.

    With `max_images`, groups take turns, and the images of a group come in a seeded order. So every model of the study
    explains the same images where `only_correct` is false.
    """
    selected = predictions[predictions["part"].isin(parts)]
    if only_correct:
        selected = selected[selected["correct"]]
    if selected.empty:
        raise StudyInvalid(
            problem=f"explain: of parts {', '.join(parts)} no image is left{' that the model gets right' if only_correct else ''}.",
            reason="Maps of no image measure nothing.",
            fix="Name a part that has images, or set explain.only_correct to false.",
        )
    return sample_evenly(selected, max_images, seed)


def sample_evenly(selected: pd.DataFrame, max_images: int | None, seed: int) -> pd.DataFrame:
    """Return at most `max_images` rows, in their order; a smaller number selects a subset of what a larger one does."""
    if max_images is None or len(selected) <= max_images:
        return selected.reset_index(drop=True)
    draw = selected["image_id"].map(lambda image: rng.seed(seed, "explain", image))
    turn = draw.groupby(selected["group"]).rank(method="first")
    order = pd.DataFrame({"turn": turn, "lot": draw}).sort_values(["turn", "lot"]).index[:max_images]
    return selected.loc[sorted(order)].reset_index(drop=True)
