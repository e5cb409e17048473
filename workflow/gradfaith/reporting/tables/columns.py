"""The table of columns: what was found in each column of the data, what was changed, and what no model may see.

Also what the audit counts: equal rows, rows on both sides of the split, rows left out.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table

TABLE = Table(
    needs=("audit", "splits"), study_key="table", section="Data and training", place=4, title="Columns and audit"
)
HEAD = ("column", "kind", "used", "missing", "found")
PARTS_HEAD = ("part", "rows")


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return one row per column, and the sentences of the audit."""
    audit = metric_rows.records(tables["audit"])[0]
    columns = pd.DataFrame(audit["columns"]).assign(categories=[len(one["categories"]) for one in audit["columns"]])
    rows = [[Cell(text) for text in _texts(column)] for column in metric_rows.records(columns)]
    counts = tables["splits"]["part"].value_counts()
    parts = [[Cell(part), Cell(str(int(counts.get(part, 0))))] for part in ("train", "val", "test")]
    blocks = (Block("Columns", HEAD, rows), Block("Rows", PARTS_HEAD, parts, sentences(audit)))
    target = (
        f'The positive class is "{audit["positive"]}".'
        if audit["positive"]
        else "The target is a number; its classes are quarters."
    )
    return Sheet(f"Columns and audit, {about.title}", (target, *audit["notes"]), blocks, columns)


def _texts(column: Mapping[str, Any]) -> tuple[str, ...]:
    kind = f"category ({column['categories']})" if column["kind"] == "category" else "number"
    return column["name"], kind, "yes" if column["used"] else "no", str(column["missing"]), column["finding"] or "-"


def sentences(audit: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the audit counts, as sentences."""
    out, across = audit["left_out"], audit["duplicates_across_the_split"]["rows"]
    kind = (
        "each row is a group of its own" if audit["group_kind"] == "row" else f"{audit['groups']} groups, from a column"
    )
    return (
        f"{audit['images']} rows; {kind}.",
        f"Columns that no model sees: {', '.join(out) or 'none'}.",
        f"{audit['duplicates']} rows have an equal row; {across} of them have it in another part of the split.",
        f"{audit['groups_across_the_split']} groups are in several parts of the split.",
    )
