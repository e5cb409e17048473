"""A table in parts: every row once and in its order, no key in two parts, and a part's size is bounded."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradfaith.errors import BrokenTable
from gradfaith.storage import parquet, table_parts
from gradfaith.storage.table_parts import TableParts

SCHEMA = {"metric": "str", "arch": "str", "image_id": "str", "part": "str", "value": "float64", "seed2": "Int64"}
READ, BY, WHERE = ["image_id", "metric", "value", "seed2"], ["metric", "arch"], {"part": "test"}


def rows(count: int) -> pd.DataFrame:
    """Rows of four keys that take turns, images of the test part and others."""
    draw, number = np.random.default_rng(3), np.arange(count)
    return pd.DataFrame(
        {
            "metric": np.array(["road", "faith"])[number % 2],
            "arch": np.array(["net-b", "net-a"])[number // 2 % 2],
            "image_id": [f"image-{n // 8}" for n in number],
            "part": np.array(["test", "val", "test"])[number // 8 % 3],
            "value": draw.random(count),
            "seed2": pd.array(draw.integers(0, 5, count), dtype="Int64"),
        }
    )


def write_rows(path: Path, count: int = 3000) -> pd.DataFrame:
    """Write a table in groups of a hundred rows."""
    table = rows(count)
    with parquet.writing(path, SCHEMA) as add:
        for start in range(0, count, 100):
            add(table.iloc[start : start + 100])
    return table


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_HELD", 100)
    monkeypatch.setattr(table_parts, "ROWS_OF_A_PART", 1100)


def read(path: Path) -> TableParts:
    return TableParts.of(path, SCHEMA, READ, by=BY, where=WHERE)


def joined(parts: TableParts) -> pd.DataFrame:
    return pd.concat([part.astype({name: SCHEMA[name] for name in READ}) for part in parts]).sort_index()


def test_the_parts_are_the_rows_and_no_key_is_in_two(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "t.parquet")
    found = list(read(tmp_path / "t.parquet"))
    wanted = table[table["part"] == "test"][READ]
    pd.testing.assert_frame_equal(joined(read(tmp_path / "t.parquet")), wanted, check_exact=True)
    assert [len(part) for part in found] == [1000, 1000], "two keys of 500 rows each"
    assert [list(part["metric"].unique()) for part in found] == [["road", "faith"]] * 2
    assert all(part.index.is_monotonic_increasing for part in found)
    assert [set(table["arch"][part.index]) for part in found] == [{"net-b"}, {"net-a"}]


def test_a_key_with_more_rows_than_a_part_is_a_part_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_parts, "ROWS_OF_A_PART", 10)
    write_rows(tmp_path / "t.parquet")
    assert [len(part) for part in read(tmp_path / "t.parquet")] == [500] * 4


def test_selected_keys_are_read_and_no_others(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "t.parquet")
    parts = read(tmp_path / "t.parquet")
    assert parts.keys.to_dict("list") == {
        "metric": ["road", "faith", "road", "faith"], "arch": ["net-b", "net-b", "net-a", "net-a"],
    }  # fmt: skip
    road = parts.select(parts.keys["metric"] == "road")
    wanted = table[(table["part"] == "test") & (table["metric"] == "road")][READ]
    pd.testing.assert_frame_equal(joined(road), wanted, check_exact=True)
    assert road.distinct("metric") == ["road"]
    assert road.distinct("image_id") == list(wanted["image_id"].unique())
    assert [len(part) for part in parts.select([False] * 4)] == [0]


def test_a_table_without_rows_is_one_part_without_rows(tmp_path: Path) -> None:
    parquet.write(tmp_path / "t.parquet", parquet.empty(SCHEMA), SCHEMA)
    (part,) = read(tmp_path / "t.parquet")
    assert list(part) == READ
    assert len(part) == 0
    assert read(tmp_path / "t.parquet").distinct("image_id") == []


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path, draw = tmp_path / "t.parquet", np.random.default_rng(7)
    write_rows(path)
    whole, before, refusals = path.read_bytes(), joined(read(path)), 0
    for bit in draw.integers(0, 8 * len(whole), 100):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(spoilt)
        try:
            pd.testing.assert_frame_equal(joined(read(path)), before, check_exact=True)
        except BrokenTable:
            refusals += 1
    assert refusals > 50


def test_a_table_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_rows(path)
    parts = read(path)
    parquet.write(path, rows(2900), SCHEMA)
    with pytest.raises(BrokenTable, match="differ from those that were written"):
        list(parts)
