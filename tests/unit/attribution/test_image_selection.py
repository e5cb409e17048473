"""Which images are explained: the asked parts, evenly from the groups, the same for every model."""

from typing import Any

import pandas as pd
import pytest

from gradfaith.attribution.cell import select_images
from gradfaith.config.study import ImageSelection
from gradfaith.errors import StudyInvalid


@pytest.fixture
def table() -> pd.DataFrame:
    """Groups of 1, 3, 6 and 20 test images, and as many of training."""
    rows = [
        (f"{part}-{g}-{n}", f"{g}", part)
        for part in ("train", "test")
        for g, size in enumerate((1, 3, 6, 20))
        for n in range(size)
    ]
    frame = pd.DataFrame(rows, columns=["image_id", "group", "part"])
    return frame.assign(correct=frame.index % 3 > 0)


def chosen(table: pd.DataFrame, seed: int = 0, **changes: Any) -> pd.DataFrame:
    return select_images(table, ImageSelection(**changes), seed)


def test_parts_and_correctness_are_as_asked(table: pd.DataFrame) -> None:
    assert len(chosen(table)) == 30
    assert len(chosen(table, parts=["train", "test"])) == 60
    some = chosen(table, only_correct=True)
    assert some["correct"].all()
    assert len(some) == 20
    assert list(some.index) == list(range(20))


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(4, [1, 1, 1, 1]), (7, [1, 2, 2, 2]), (10, [1, 3, 3, 3]), (16, [1, 3, 6, 6]), (100, [1, 3, 6, 20])],
)
def test_a_number_is_drawn_evenly_from_the_groups(table: pd.DataFrame, most: int, sizes: list[int]) -> None:
    assert chosen(table, max_images=most)["group"].value_counts().sort_index().tolist() == sizes


def test_every_model_explains_the_same_images(table: pd.DataFrame) -> None:
    other = table.sample(frac=1, random_state=1).assign(correct=False)
    first = chosen(table, max_images=9)
    assert set(first["image_id"]) == set(chosen(other, max_images=9)["image_id"])
    assert list(first["image_id"]) == sorted(first["image_id"], key=list(table["image_id"]).index)


def test_the_seed_draws_others_and_more_keeps_what_fewer_drew(table: pd.DataFrame) -> None:
    few, more = (set(chosen(table, max_images=most)["image_id"]) for most in (8, 14))
    assert few < more
    assert few != set(chosen(table, max_images=8, seed=1)["image_id"])


def test_nothing_left_to_explain_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(StudyInvalid, match="parts val have no image"):
        chosen(table, parts=["val"])
    with pytest.raises(StudyInvalid, match="have no correctly classified image"):
        chosen(table.assign(correct=False), only_correct=True)
