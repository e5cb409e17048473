"""Write and read Parquet tables. A table is complete or absent, has the columns of its schema, and is checked when read.

A schema names the columns that a table must have; it may have more. The file also stores the format's version and the
table's identity (storage/identity.py).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals

from gradfaith.errors import BrokenTable, GradFaithError
from gradfaith.storage.atomic import replacing
from gradfaith.storage.identity import TABLE_FORMAT, Identity, advise_replacement

VERSION_KEY, IDENTITY_KEY, SHAPE_KEY = b"gradfaith_format", b"gradfaith_identity", b"gradfaith_shape"
ABOUT_KEY = b"about"
Schema = Mapping[str, str]

MANIFEST: Schema = {
    "image_id": "str", "file": "str", "sha256": "str", "pixel_hash": "str", "label": "str", "group": "str", "group_kind": "str",
    "evidence": "str", "lesion_px": "int64", "lesion_share": "float64", "width": "int64", "height": "int64",
    "bytes": "int64", "status": "str", "reason": "str", "lesions": "int64", "lesion_kind": "str", "lesion_mm": "float64",
    "lesion_density": "str", "lesion_outline": "str", "lesion_calcification": "str", "lesion_contact": "str",
}  # fmt: skip
GROUPS: Schema = {"image_id": "str", "group": "str", "version": "int64"}
LINKS: Schema = {"a": "str", "b": "str", "cue": "str", "value": "float64"}
SPLITS: Schema = {"image_id": "str", "part": "str"}
PREDICTIONS: Schema = {
    "image_id": "str", "group": "str", "part": "str", "label": "str", "predicted": "str", "correct": "bool", "seconds": "float64",
}  # fmt: skip
SCORES: Schema = {
    "arch": "str", "seed": "int64", "arch2": "str", "seed2": "Int64", "method": "str", "copy": "int64", "layer": "str",
    "target": "str", "metric": "str", "variant": "str", "image_id": "str", "group": "str", "part": "str", "label": "str",
    "predicted": "str", "correct": "boolean", "value": "float64", "status": "str", "reason": "str",
}  # fmt: skip
CURVES: Schema = {
    "arch": "str", "seed": "int64", "method": "str", "layer": "str", "target": "str", "image_id": "str", "group": "str", "part": "str",
    "label": "str", "predicted": "str", "correct": "boolean", "imputer": "str", "order": "str", "fraction": "float64",
    "probability": "float64",
}  # fmt: skip
ESTIMATES: Schema = {
    "arch": "str", "method": "str", "metric": "str", "variant": "str", "value": "float64", "low": "float64", "high": "float64",
}  # fmt: skip
CLASSIFICATION: Schema = {"arch": "str", "metric": "str", "value": "float64", "low": "float64", "high": "float64"}
CONTRASTS: Schema = {**ESTIMATES, "against": "str", "comparison": "str", "label": "str"}
META: Schema = {
    "view": "str", "truth": "str", "arch": "str", "metric": "str", "variant": "str", "who": "str", "measure": "str", "value": "float64",
    "low": "float64", "high": "float64", "n_methods": "int64", "n_undefined": "int64", "n_wrong": "int64", "order_only": "bool",
    "fooled": "bool",
}  # fmt: skip
CLAIMS: Schema = {
    "claim": "str", "says": "str", "paper": "str", "verdict": "str", "why": "str", "case": "str", "case_verdict": "str",
    "condition": "str", "precondition": "bool", "number_verdict": "str", "decides": "bool", "quantity": "str", "metric": "str",
    "variant": "str", "label": "str", "margin": "float64", "side": "str", "value": "float64", "low": "float64",
    "high": "float64",
}  # fmt: skip
# Of a study of tables; further columns: features x:<name>, planted importances t:<name>
TABLE: Schema = {"image_id": "str", "target": "float64"}
ATTRIBUTIONS: Schema = {
    "method": "str", "copy": "int64", "repeat": "int64", "image_id": "str", "answer": "float64", "base": "float64",
}  # fmt: skip
BOUNDARY: Schema = {"first": "str", "second": "str", "x": "float64", "y": "float64", "answer": "float64"}
RANKS: Schema = {**ESTIMATES, "measure": "str", "by": "str", "stratum": "str", "n_ties": "int64", "n_lost": "int64"}


def write(
    path: Path | str, frame: pd.DataFrame, schema: Schema, made_from: Mapping[str, str] | None = None, about: str = ""
) -> None:
    """Write a table completely or not at all, its schema's columns first and of their types.

    `made_from`: path -> digest of the files that it was computed from, as `origins.check_inputs` returns them. `about`: what
    the numbers are, in a sentence for the file's metadata (key `about`).
    """
    with writing(path, schema, made_from, about) as add:
        add(frame)


@contextmanager
def writing(
    path: Path | str, schema: Schema, made_from: Mapping[str, str] | None = None, about: str = ""
) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that adds rows to a table. Rows are written in groups, so that few are in memory at once.

    The table exists, complete, when the block ends without error.
    """
    identity = replace(Identity.of_place(path), made_from=dict(made_from or {}))
    with replacing(path) as draft, ExitStack() as stack:
        groups = _RowGroups(Path(path), draft, schema, identity, stack, about)
        yield groups.add
        groups.close()


ROWS_HELD = 5_000  # of a table in memory, before they are written as a group


@dataclass
class _RowGroups:
    """A Parquet file that is written group by group, and the rows of the next group."""

    path: Path
    draft: Path
    schema: Schema
    identity: Identity
    closes: ExitStack
    about: str = ""
    waiting: list[pd.DataFrame] = field(default_factory=list)
    file: pq.ParquetWriter | None = None
    first: pa.Schema | None = None  # the schema of the first group, and so of the file
    rows: int = 0

    def add(self, frame: pd.DataFrame) -> None:
        missing = [name for name in self.schema if name not in frame]
        if missing:
            raise BrokenTable(
                problem=f"{self.path} cannot be written: columns {', '.join(missing)} are missing.",
                reason="Readers of this table need these columns.",
                fix="This is an error in GradFaith: please report it with the log of this job (in results/<study>/logs/).",
            )
        self.waiting.append(frame)
        if sum(map(len, self.waiting)) >= ROWS_HELD:
            self._write()

    def close(self) -> None:
        """Write the remaining rows and the table's identity; a table without rows has one empty group."""
        if self.waiting or self.file is None:
            self._write()
        assert self.file is not None
        assert self.first is not None
        own = {VERSION_KEY: str(TABLE_FORMAT), IDENTITY_KEY: self.identity.to_json()}
        own[SHAPE_KEY] = _shape(self.rows, self.first.empty_table().to_pandas())
        own |= {ABOUT_KEY: self.about} if self.about else {}
        self.file.add_key_value_metadata({key: text.encode() for key, text in own.items()})

    def _write(self) -> None:
        """Write the waiting rows as a group, the schema's columns first and of their types."""
        frame = pd.concat(self.waiting or [empty(self.schema)])
        self.waiting.clear()
        kinds = {name: "str" for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
        ordered = frame[[*self.schema, *(name for name in frame if name not in self.schema)]]
        ordered = ordered.astype({**kinds, **self.schema})
        table = pa.Table.from_pandas(ordered, preserve_index=False)
        if self.file is None or self.first is None:
            how = {"compression": "zstd", "write_page_checksum": True}
            self.first, self.file = table.schema, pq.ParquetWriter(self.draft, table.schema, **how)
            self.closes.enter_context(self.file)
        self.file.write_table(table.replace_schema_metadata(self.first.metadata))
        self.rows += len(table)


def read(path: Path | str, schema: Schema) -> pd.DataFrame:
    """Read a table, and check its format version, its path and its columns."""
    with _opened(path, schema) as (file, shape):
        frame: pd.DataFrame = file.read().to_pandas()
        if _shape(len(frame), frame) != shape:
            raise changed_table(path)
    return frame


def read_columns(path: Path | str, schema: Schema, columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a table, checked as in `read`; texts become categories, which need a tenth of the memory."""
    with open_columns(path, schema, columns) as file:
        groups = [file.read_row_group(number, columns).to_pandas() for number in range(file.num_row_groups)]
        if sum(map(len, groups)) != file.metadata.num_rows:
            raise changed_table(path)
        return pd.DataFrame({name: _join_columns([group.pop(name) for group in groups]) for name in columns})


@contextmanager
def open_columns(path: Path | str, schema: Schema, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """Open a table to read some of its columns, checked as in `read`; texts become categories."""
    texts = [name for name in columns if schema[name] == "str"]
    with (
        _opened(path, schema),
        pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file,
    ):
        yield file


def _join_columns(parts: list[pd.Series]) -> pd.Series:
    """Join the parts of a column. Their categories differ, because each group has only those of its rows."""
    categorical = isinstance(parts[0].dtype, pd.CategoricalDtype)
    return pd.Series(union_categoricals(parts)) if categorical else pd.concat(parts, ignore_index=True)


def read_groups(path: Path | str, schema: Schema, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Yield a table's rows group by group, checked as in `read`; the rows of one `add` are in one group.

    `columns`: those to read; None: all.
    """
    with _opened(path, schema) as (file, shape):
        rows, kinds = 0, dict(json.loads(shape)[1])
        kinds = {name: kinds[name] for name in columns or kinds}
        for number in range(file.num_row_groups):
            frame: pd.DataFrame = file.read_row_group(number, list(kinds)).to_pandas()
            rows += len(frame)
            if {name: str(kind) for name, kind in frame.dtypes.items()} != kinds:
                raise changed_table(path)
            yield frame[list(kinds)]
        if rows != json.loads(shape)[0]:
            raise changed_table(path)


@contextmanager
def _opened(path: Path | str, schema: Schema) -> Iterator[tuple[pq.ParquetFile, str]]:
    """Open and check a table; yield it with its shape when written. An error in the block becomes BrokenTable."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.metadata.metadata
            _identity(path, metadata).check_place(path)
            shape, blank = metadata.get(SHAPE_KEY, b"").decode(errors="replace"), file.schema_arrow.empty_table()
            if _shape(file.metadata.num_rows, blank.to_pandas()) != shape:
                raise changed_table(path)
            if missing := [name for name in schema if name not in file.schema_arrow.names]:
                raise _broken(path, f"it has no {', '.join(missing)}")
            yield file, shape
    except GradFaithError:
        raise
    except Exception as error:  # a flipped bit in the metadata can raise anything
        raise _unreadable(path, error) from error


def _shape(rows: int, frame: pd.DataFrame) -> str:
    """Return rows, columns and types of a table; the file states them in a part that has no checksum."""
    return json.dumps([rows, [[name, str(kind)] for name, kind in frame.dtypes.items()]])


def read_identity(path: Path | str) -> tuple[Identity, str]:
    """Return the identity of a table, and the SHA-256 of its file; no row is read."""
    try:
        with Path(path).open("rb") as file:
            metadata = pq.read_metadata(file).metadata
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except Exception as error:  # as above
        raise _unreadable(path, error) from error
    return _identity(path, metadata), digest


def _identity(path: Path | str, metadata: Mapping[bytes, bytes] | None) -> Identity:
    """Return the identity in a table's metadata; raise an error for a table of another format."""
    metadata = metadata or {}
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    if version != str(TABLE_FORMAT):
        raise _broken(path, f"its format is {version}; this version of GradFaith reads {TABLE_FORMAT}")
    try:
        return Identity.from_json(metadata[IDENTITY_KEY].decode())
    except (ValueError, LookupError, TypeError) as error:
        raise _broken(path, f"its identity cannot be read ({error})") from error


def read_all(paths: Iterable[Path | str], schema: Schema) -> pd.DataFrame:
    """Read several tables of one schema as one; no table at all gives an empty one."""
    frames = [read(path, schema) for path in paths]
    return pd.concat(frames, ignore_index=True) if frames else empty(schema)


def read_manifest_with_parts(manifest: Path | str, splits: Path | str) -> pd.DataFrame:
    """Read a manifest, with each image's part of the split as a column."""
    return read(manifest, MANIFEST).merge(read(splits, SPLITS), on="image_id")


def empty(schema: Schema) -> pd.DataFrame:
    """Return a table with every column of a schema and no rows."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in schema.items()})


def read_per_model(paths: Iterable[Path | str], schema: Schema) -> pd.DataFrame:
    """Read tables of one model each as one, with columns arch and seed from the tables' identities."""
    frames = []
    for path in paths:
        identity, _ = read_identity(path)
        if identity.seed is None:
            raise _broken(path, "it does not state which model it belongs to")
        frames.append(read(path, schema).assign(arch=identity.arch, seed=identity.seed))
    return pd.concat(frames, ignore_index=True)


def changed_table(path: Path | str) -> BrokenTable:
    """Return the error of a table whose content differs from what was written."""
    return _broken(path, "its columns or rows differ from those that were written")


def _unreadable(path: Path | str, error: Exception) -> BrokenTable:
    return _broken(path, f"it cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})")


def _broken(path: Path | str, problem: str) -> BrokenTable:
    return BrokenTable(
        problem=f"{path}: {problem}.",
        reason="GradFaith writes complete tables only, so this one was truncated, edited, or written by another version.",
        fix=advise_replacement(path),
    )
