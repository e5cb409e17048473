"""Read a large table in parts, with all rows of a key in one part: memory then does not grow with the table.

A key is a combination of values of some columns, such as an architecture, metric and variant. `TableParts.of` reads only
these columns, and notes which row groups hold which keys. A part has the rows of several keys, up to ROWS_OF_A_PART of
them, or those of one key. Cost: a row group is read once for each part that has rows in it, in 2 ms for 5,000 rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradfaith.storage.parquet import Schema, changed_table, open_columns

ROWS_OF_A_PART = 100_000
Key = tuple[str, ...]


@dataclass(frozen=True)
class TableParts:
    """The rows of a table, part by part, as often as they are asked for."""

    path: Path
    schema: Schema
    columns: Sequence[str]  # that are read
    by: Sequence[str]  # the columns of a key, all of them texts
    where: Mapping[str, str]  # column -> the value that its rows must have
    row_counts: Mapping[Key, Mapping[int, int]]  # key, in order of appearance -> row group -> number of rows
    starts: Sequence[int]  # of every row group: its first row's place in the table

    @classmethod
    def of(
        cls, path: Path | str, schema: Schema, columns: Sequence[str], by: Sequence[str], where: Mapping[str, str]
    ) -> "TableParts":
        """Find the keys of a table, checked as in `parquet.read`; a row without the values of `where` is left out."""
        row_counts: dict[Key, dict[int, int]] = {}
        starts, needed = [0], [*by, *where]
        with open_columns(path, schema, needed) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, needed)
                starts.append(starts[-1] + len(table))
                keys, key_of_row = _keys_of_rows(table, needed)
                for key, count in zip(keys, np.bincount(key_of_row, minlength=len(keys)), strict=True):
                    if key[len(by) :] == tuple(where.values()):
                        row_counts.setdefault(key[: len(by)], {})[number] = int(count)
            if starts[-1] != file.metadata.num_rows:
                raise changed_table(path)
        return cls(Path(path), schema, columns, by, where, row_counts, starts)

    @property
    def keys(self) -> pd.DataFrame:
        """The keys, a row each, in order of appearance."""
        return pd.DataFrame(list(self.row_counts), columns=list(self.by), dtype="str")

    def select(self, is_selected: Sequence[bool] | NDArray[np.bool_] | pd.Series) -> "TableParts":
        """Return the rows of some of the keys only."""
        pairs = zip(self.row_counts.items(), is_selected, strict=True)
        return replace(self, row_counts={key: counts for (key, counts), selected in pairs if selected})

    def joined(self) -> pd.DataFrame:
        """Return all rows as one table."""
        parts = list(self)
        texts = {name: "str" for name, kind in parts[0].dtypes.items() if len(parts) > 1 and kind == "category"}
        return pd.concat([part.astype(texts) for part in parts])

    def distinct(self, column: str) -> list[Any]:
        """Return the values of one column, in order of appearance."""
        needed, found = list(dict.fromkeys([column, *self.by, *self.where])), dict[Any, None]()
        with open_columns(self.path, self.schema, needed) as file:
            for number in sorted({number for counts in self.row_counts.values() for number in counts}):
                table, _ = self._rows(file, number, needed, list(self.row_counts))
                found |= dict.fromkeys(table.column(column).unique().to_pylist())
        return list(found)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the rows, at least one part; rows are in the table's order, and their index is their place in the table."""
        needed = list(dict.fromkeys([*self.columns, *self.by, *self.where]))
        with open_columns(self.path, self.schema, needed) as file:
            for keys in self._keys_of_parts():
                numbers = sorted({number for key in keys for number in self.row_counts[key]}) or [0]
                yield self._join(self._rows(file, number, needed, keys) for number in numbers)

    def _join(self, groups: Iterable[tuple[pa.Table, NDArray[np.int64]]]) -> pd.DataFrame:
        """Return some rows and their places as one table; a function of its own, so that nothing else outlives it."""
        tables, places = zip(*groups, strict=True)
        table = pa.concat_tables(tables)
        columns = {name: table.select([name]).unify_dictionaries().to_pandas()[name] for name in self.columns}
        rows = pd.DataFrame(columns).set_axis(np.concatenate(places))
        del tables, table, columns
        pa.default_memory_pool().release_unused()
        return rows

    def _keys_of_parts(self) -> Iterator[list[Key]]:
        """Yield the keys of every part."""
        waiting: list[Key] = []
        rows = 0
        for key, counts in self.row_counts.items():
            if waiting and rows + sum(counts.values()) > ROWS_OF_A_PART:
                yield waiting
                waiting, rows = [], 0
            waiting, rows = [*waiting, key], rows + sum(counts.values())
        yield waiting

    def _rows(
        self, file: pq.ParquetFile, number: int, columns: Sequence[str], keys: Sequence[Key]
    ) -> tuple[pa.Table, NDArray[np.int64]]:
        """Return the rows of one row group that are of some keys, and their places in the table."""
        table, wanted = file.read_row_group(number, list(columns)), {(*key, *self.where.values()) for key in keys}
        own, key_of_row = _keys_of_rows(table, [*self.by, *self.where])
        is_selected = np.array([key in wanted for key in own], dtype=bool)[key_of_row]
        if is_selected.sum() != sum(self.row_counts[key].get(number, 0) for key in keys):
            raise changed_table(self.path)
        return table.filter(pa.array(is_selected)), self.starts[number] + np.flatnonzero(is_selected)


def _keys_of_rows(table: pa.Table, columns: Sequence[str]) -> tuple[list[Key], NDArray[np.int64]]:
    """Return the distinct keys in order of appearance, and the place of each row's key among them."""
    texts, codes, code = [], [], np.zeros(len(table), dtype=np.int64)
    for name in columns:
        column = table.column(name).combine_chunks()
        texts.append(column.dictionary.to_pylist())
        codes.append(column.indices.to_numpy(zero_copy_only=False).astype(np.int64))
        code = code * max(len(texts[-1]), 1) + codes[-1]
    place = pd.factorize(code)[0].astype(np.int64)
    first = np.unique(place, return_index=True)[1]
    pairs = list(zip(texts, codes, strict=True))
    return [tuple(names[code[row]] for names, code in pairs) for row in first], place
