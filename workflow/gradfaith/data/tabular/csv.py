"""A person's own CSV file: one row per case, one column is the target, one may name the group (the person).

    table: {source: csv, options: {file: people.csv, target: outcome, group: person}}

Everything else is found and stated (data/tabular/columns.py). `drop` leaves columns out.
"""

import hashlib
from pathlib import Path

import pandas as pd

from gradfaith.data.tabular.columns import SourceTable, TableSource
from gradfaith.errors import DatasetInvalid, name_some

TABLE = TableSource()
MISSING_WORDS = ("?", "NA", "N/A", "", "nan", "NaN", "null", "None")


def read(
    *, file: str = "", target: str = "", group: str = "", drop: tuple[str, ...] = (), separator: str = ","
) -> SourceTable:
    """Return the table of a file. `target`, `group`: names of columns; `drop`: columns that are left out."""
    if not Path(file).is_file():
        raise DatasetInvalid(
            problem=f'table.options.file: there is no file "{file}".',
            reason="The table is read from this file; a relative path starts at the folder where you run `snakemake`.",
            fix="Write the path of your CSV file.",
        )
    content = Path(file).read_bytes()
    try:
        frame = pd.read_csv(
            file,
            sep=separator,
            skipinitialspace=True,
            na_values=list(MISSING_WORDS),
            keep_default_na=False,
            dtype=object,
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DatasetInvalid(
            problem=f"{file} cannot be read as a CSV file: {error}.",
            reason="A table has one line of column names and then one line per row, in UTF-8.",
            fix="Save it as CSV in UTF-8, or state its `separator`.",
        ) from error
    if unknown := [name for name in (target, *filter(None, [group]), *drop) if name not in frame]:
        raise DatasetInvalid(
            problem=f'{file} has no column "{name_some(unknown)}"; it has {name_some(list(frame), most=20)}.',
            reason="`target`, `group` and `drop` name columns of the file.",
            fix="Correct the name, or the `separator` of the columns.",
        )
    own = pd.Series([f"row {number} without a group" for number in range(len(frame))])
    groups = frame[group].where(frame[group].notna(), own) if group else None
    features = frame.drop(columns=[target, *filter(None, [group]), *drop])
    return SourceTable(features, frame[target], groups, files={file: hashlib.sha256(content).hexdigest()})
