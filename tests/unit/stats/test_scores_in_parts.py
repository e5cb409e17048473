"""Statistics of scores that are read in parts: the same tables as of all scores at once, and one part in memory at a time."""

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import small_meta

from gradfaith.errors import NoComparableScores
from gradfaith.stats.comparisons import Comparisons, is_comparable, is_compared
from gradfaith.stats.contrasts import NamedContrast, estimate_contrasts
from gradfaith.stats.estimates import SCORE_COLUMNS, estimate_scores
from gradfaith.stats.image_scores import CONTEXT_KEYS
from gradfaith.stats.meta_evaluation import evaluate_metrics
from gradfaith.stats.winrates import estimate_winrates
from gradfaith.storage import parquet, table_parts
from gradfaith.storage.table_parts import TableParts

CONTROLS, BETTER = list(small_meta.CONTROLS), small_meta.BETTER
PRIMARY = NamedContrast(metric="road", variant="black", method="gradcam", against="centre")


def write_scores(path: Path, images: int) -> pd.DataFrame:
    """Write random scores image after image, so that every row group has rows of every metric; return them."""
    ids = [f"image-{row:05d}" for row in range(images)]
    about = pd.DataFrame({"image_id": ids, "group": [f"p{row // 3}" for row in range(images)]})
    about["label"] = ["nodule", "normal", "nodule"] * (images // 3)
    scores = small_meta.scores(about, ["net-b", "net-a"], [0, 1]).sort_values("image_id", kind="stable")
    scores.loc[scores["method"] == "uniform", "part"] = "val"
    with parquet.writing(path, parquet.SCORES) as add:
        for start in range(0, len(scores), 1000):
            add(scores.iloc[start : start + 1000])
    return scores[scores["part"] == "test"].reset_index(drop=True)


def parts_of(path: Path) -> TableParts:
    return TableParts.of(path, parquet.SCORES, SCORE_COLUMNS, by=CONTEXT_KEYS, where={"part": "test"})


def estimates(parts: TableParts) -> pd.DataFrame:
    return estimate_scores(parts, by=("label",))


def contrasts(parts: TableParts) -> pd.DataFrame:
    own = parts.select(is_compared(parts.keys))
    return estimate_contrasts(own, Comparisons(own.distinct("method"), CONTROLS, BETTER), PRIMARY)


def winrates(parts: TableParts) -> pd.DataFrame:
    return estimate_winrates(parts.select(is_comparable(parts.keys)), CONTROLS, BETTER)


ESTIMATES: dict[str, tuple[Callable[[TableParts], pd.DataFrame], Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "estimates": (estimates, lambda scores: estimate_scores([scores], by=("label",))),
    "contrasts": (
        contrasts,
        lambda scores: estimate_contrasts(
            [scores], Comparisons(list(scores["method"].unique()), CONTROLS, BETTER), PRIMARY
        ),
    ),
    "win rates": (winrates, lambda scores: estimate_winrates([scores], CONTROLS, BETTER)),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_parts_give_the_table_of_all_scores(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in the same order, and numbers that differ at most by the order of a sum."""
    monkeypatch.setattr(table_parts, "ROWS_OF_A_PART", 2000)
    monkeypatch.setattr(parquet, "ROWS_HELD", 1000)
    scores = write_scores(tmp_path / "scores.parquet", 30)
    of_parts, of_all = ESTIMATES[name]
    parts = parts_of(tmp_path / "scores.parquet")
    assert len(list(parts)) > 4
    found, expected = of_parts(parts), of_all(scores)
    assert len(expected) > 50
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12, atol=1e-14)


def test_the_primary_contrast_is_one_row_per_architecture(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", 30)
    found = contrasts(parts_of(tmp_path / "scores.parquet"))
    primary = found[found["primary"]]
    assert list(primary["arch"]) == ["net-b", "net-a"]
    assert set(zip(primary["metric"], primary["variant"], primary["method"], primary["against"], strict=True)) == {
        ("road", "black", "gradcam", "centre")
    }


def judge(path: Path, **how: object) -> pd.DataFrame:
    settings = {"against": "road", "order_only": ["road"]} | how
    groups = parquet.read_groups(path, parquet.SCORES, SCORE_COLUMNS)
    return evaluate_metrics(groups, ["saliency_score"], BETTER, CONTROLS, **settings)  # type: ignore[arg-type]


def test_metrics_are_judged_alike_whatever_the_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_HELD", 1000)
    scores = write_scores(tmp_path / "scores.parquet", 30)
    how = {"against": "road", "order_only": ["road"]}
    expected = evaluate_metrics([scores], ["saliency_score"], BETTER, CONTROLS, **how)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(judge(tmp_path / "scores.parquet"), expected, check_exact=True)


@pytest.mark.parametrize("how", [{"against": "border_share"}, {"against": "sparseness"}])
def test_a_metric_without_comparable_scores_is_an_error_in_three_parts(tmp_path: Path, how: dict[str, str]) -> None:
    """It was a bare RuntimeError: generator raised StopIteration."""
    write_scores(tmp_path / "scores.parquet", 9)
    with pytest.raises(NoComparableScores) as caught:
        judge(tmp_path / "scores.parquet", **how)
    assert how["against"] in caught.value.problem
    assert "average_drop, cosine, deletion" in caught.value.problem
    assert "against" in caught.value.fix


def one_at_a_time(parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield parts; before each but the first, the one before it must be gone."""
    before = None
    for part in parts:
        gc.collect()
        assert before is None or before() is None
        before = weakref.ref(part)
        yield part
        del part


@pytest.mark.parametrize("name", ESTIMATES)
def test_no_part_is_in_memory_when_the_next_is_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_parts, "ROWS_OF_A_PART", 1000)
    monkeypatch.setattr(parquet, "ROWS_HELD", 1000)
    path = tmp_path / "scores.parquet"
    write_scores(path, 12)
    parts = parts_of(path)
    assert len(list(parts)) > 4
    watched = one_at_a_time(parts)
    if name == "estimates":
        found = estimate_scores(watched)
    elif name == "contrasts":
        found = estimate_contrasts(watched, Comparisons(parts.distinct("method"), CONTROLS, BETTER))
    else:
        found = estimate_winrates(watched, CONTROLS, BETTER)
    assert len(found) > 50
