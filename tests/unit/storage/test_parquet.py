"""Tables come back as they went; what is cut, foreign, of another format or full is refused by name."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradfaith.errors import BrokenTable, CannotWrite
from gradfaith.storage import parquet

SCHEMA = {"image_id": "str", "seed2": "Int64", "correct": "bool", "value": "float64"}


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "more": [1, 2],
            "value": [0.1, np.nan],
            "image_id": ["a", "ü b"],
            "seed2": [3, pd.NA],
            "correct": [True, False],
        }
    )


def refused(path: Path, schema: parquet.Schema = SCHEMA) -> str:
    with pytest.raises(BrokenTable) as refusal:
        parquet.read(path, schema)
    assert str(path) in refusal.value.problem
    assert f"Replace {path}" in refusal.value.fix
    return refusal.value.problem


def test_the_file_says_what_its_numbers_are(tmp_path: Path, frame: pd.DataFrame) -> None:
    parquet.write(tmp_path / "table.parquet", frame, SCHEMA, about="Means over test images.")
    assert pq.read_metadata(tmp_path / "table.parquet").metadata[b"about"] == b"Means over test images."
    assert len(parquet.read(tmp_path / "table.parquet", SCHEMA)) == 2
    parquet.write(tmp_path / "table.parquet", frame, SCHEMA)
    assert b"about" not in pq.read_metadata(tmp_path / "table.parquet").metadata


def test_a_table_comes_back_with_its_types_and_its_further_columns(tmp_path: Path, frame: pd.DataFrame) -> None:
    parquet.write(tmp_path / "t.parquet", frame, SCHEMA)
    back = parquet.read(tmp_path / "t.parquet", SCHEMA)
    assert list(back) == [*SCHEMA, "more"]
    assert {name: str(kind) for name, kind in back.dtypes.items()} == {**SCHEMA, "more": "int64"}
    pd.testing.assert_frame_equal(back, frame[[*SCHEMA, "more"]].astype(SCHEMA))


def test_a_table_may_be_written_part_by_part(
    tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows as at once, and no more of them held than a group."""
    monkeypatch.setattr(parquet, "ROWS_HELD", 5)
    with parquet.writing(tmp_path / "t.parquet", SCHEMA) as add:
        for _ in range(7):
            add(frame)
        assert not (tmp_path / "t.parquet").exists()
    written = pq.ParquetFile(tmp_path / "t.parquet").metadata
    assert [written.row_group(place).num_rows for place in range(written.num_row_groups)] == [6, 6, 2]
    whole = pd.concat([frame] * 7, ignore_index=True)
    pd.testing.assert_frame_equal(parquet.read(tmp_path / "t.parquet", SCHEMA), whole[[*SCHEMA, "more"]].astype(SCHEMA))


def test_a_table_is_read_group_by_group_with_the_same_rows(
    tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was added together is in one group."""
    monkeypatch.setattr(parquet, "ROWS_HELD", 3)
    with parquet.writing(tmp_path / "t.parquet", SCHEMA) as add:
        for number in range(5):
            add(frame.assign(more=number))
    groups = list(parquet.read_groups(tmp_path / "t.parquet", SCHEMA))
    assert [group["more"].tolist() for group in groups] == [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4]]
    pd.testing.assert_frame_equal(pd.concat(groups, ignore_index=True), parquet.read(tmp_path / "t.parquet", SCHEMA))
    parquet.write(tmp_path / "empty.parquet", parquet.empty(SCHEMA), SCHEMA)
    assert [len(group) for group in parquet.read_groups(tmp_path / "empty.parquet", SCHEMA)] == [0]


def test_some_columns_are_read_with_texts_as_categories(
    tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same values, whichever rows of a text are in which group; written again they are texts."""
    monkeypatch.setattr(parquet, "ROWS_HELD", 3)
    with parquet.writing(tmp_path / "t.parquet", SCHEMA) as add:
        for number in range(5):
            add(frame.assign(image_id=[f"image-{number % 3}", "ü b"]))
    whole = parquet.read(tmp_path / "t.parquet", SCHEMA)
    some = parquet.read_columns(tmp_path / "t.parquet", SCHEMA, ["value", "image_id", "seed2"])
    assert str(some["image_id"].dtype) == "category"
    pd.testing.assert_frame_equal(some.astype({"image_id": "str"}), whole[["value", "image_id", "seed2"]])
    parquet.write(tmp_path / "again.parquet", some.assign(more=some["image_id"]), {"image_id": "str"})
    again = parquet.read(tmp_path / "again.parquet", {"image_id": "str"})
    assert str(again["image_id"].dtype) == str(again["more"].dtype) == "str"
    empty = parquet.read_columns(write_empty(tmp_path / "empty.parquet"), SCHEMA, ["image_id", "value"])
    assert list(empty) == ["image_id", "value"]
    assert empty.empty


def write_empty(path: Path) -> Path:
    parquet.write(path, parquet.empty(SCHEMA), SCHEMA)
    return path


def test_a_table_of_no_rows_has_its_columns(tmp_path: Path) -> None:
    with parquet.writing(tmp_path / "t.parquet", SCHEMA):
        pass
    back = parquet.read(tmp_path / "t.parquet", SCHEMA)
    assert not len(back)
    assert {name: str(kind) for name, kind in back.dtypes.items()} == SCHEMA


def test_an_error_between_the_parts_leaves_no_table(
    tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_HELD", 1)
    with (
        pytest.raises(BrokenTable, match="columns value are missing"),
        parquet.writing(tmp_path / "t.parquet", SCHEMA) as add,
    ):
        add(frame)
        add(frame.drop(columns="value"))
    assert not os.listdir(tmp_path)


def test_a_table_without_a_promised_column_is_never_written(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(BrokenTable, match="columns value are missing"):
        parquet.write(tmp_path / "t.parquet", frame.drop(columns="value"), SCHEMA)
    assert not os.listdir(tmp_path)


def test_a_truncated_table_is_refused(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "t.parquet"
    parquet.write(path, frame, SCHEMA)
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "cannot be read" in refused(path)


def test_a_foreign_a_missing_and_another_version_s_table_are_refused(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "t.parquet"
    assert "cannot be read" in refused(path)
    path.write_text("image_id,value\na,1\n")
    assert "cannot be read" in refused(path)
    pq.write_table(pa.Table.from_pandas(frame), path)
    assert "its format is none" in refused(path)
    parquet.write(path, frame, SCHEMA)
    assert "it has no arch" in refused(path, {**SCHEMA, "arch": "str"})
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"gradfaith_format": b"99"}), path)
    assert "its format is 99; this version of GradFaith reads 2" in refused(path)


def test_a_full_disk_leaves_no_table(full) -> None:
    folder, limit = full
    big = pd.DataFrame({"value": np.random.default_rng(0).random(200_000)})
    with limit(), pytest.raises(CannotWrite):
        parquet.write(folder / "t.parquet", big, {"value": "float64"})
    assert not [name for name in os.listdir(folder) if "parquet" in name]


def test_models_tables_say_whose_they_are(tmp_path: Path, frame: pd.DataFrame) -> None:
    paths = [tmp_path / "predictions" / arch / f"seed-{seed}.parquet" for arch in ("a", "b") for seed in (0, 10)]
    for path in paths:
        parquet.write(path, frame, SCHEMA)
    back = parquet.read_per_model(paths, SCHEMA)
    assert sorted(set(zip(back["arch"], back["seed"], strict=True))) == [("a", 0), ("a", 10), ("b", 0), ("b", 10)]
    parquet.write(tmp_path / "t.parquet", frame, SCHEMA)
    with pytest.raises(BrokenTable, match="does not state which model it belongs to"):
        parquet.read_per_model([tmp_path / "t.parquet"], SCHEMA)


def test_no_table_at_all_is_an_empty_one_with_its_columns() -> None:
    empty = parquet.read_all([], SCHEMA)
    assert len(empty) == 0
    assert {name: str(kind) for name, kind in empty.dtypes.items()} == SCHEMA


def by_groups(path: Path, schema: parquet.Schema) -> pd.DataFrame:
    return pd.concat(parquet.read_groups(path, schema), ignore_index=True)


def columns(path: Path, schema: parquet.Schema) -> pd.DataFrame:
    return parquet.read_columns(path, schema, list(schema))


@pytest.mark.parametrize("read", [parquet.read, by_groups, columns])
def test_a_flipped_bit_is_refused_or_changes_nothing(
    tmp_path: Path, read: Callable[[Path, parquet.Schema], pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page checksums: without them three of four flipped bits changed a number and nobody noticed."""
    draw, path = np.random.default_rng(6), tmp_path / "t.parquet"
    count = 3000
    frame = pd.DataFrame(
        {
            "image_id": [f"image-{n % 97}" for n in range(count)],
            "seed2": pd.array(draw.integers(0, 5, count), dtype="Int64"),
            "correct": draw.random(count) < 0.5,
            "value": draw.random(count),
        }
    )
    monkeypatch.setattr(parquet, "ROWS_HELD", 1000)
    with parquet.writing(path, SCHEMA) as add:
        for start in range(0, count, 1000):
            add(frame.iloc[start : start + 1000])
    whole, before = path.read_bytes(), read(path, SCHEMA)
    refusals = 0
    for bit in draw.integers(0, 8 * len(whole), 200):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(spoilt)
        try:
            pd.testing.assert_frame_equal(read(path, SCHEMA), before)
        except BrokenTable:
            refusals += 1
    assert refusals > 150
