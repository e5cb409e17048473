"""Define what a table is, and turn estimates into cells and sentences.

    TABLE = Table(needs=("estimates", "contrasts"))
    def tabulate(tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> Sheet

A table is one file; its stem is the table's name. `needs` names the files that it reads. The rule makes them its inputs, so a
table is written again when one of these changes, and only then. `about` is what the study says of itself: title, classes,
architectures, seeds, controls, primary, better, level, ranks, evidence, notes. Numbers are written as they come from stats/:
nothing is computed here. Where there is no interval, a footnote gives the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradfaith.reporting.tables.sheet import Cell
from gradfaith.vocabulary import NOT_OK

ESTIMATE_COLUMNS = (
    "arch", "arch2", "method", "against", "metric", "variant", "layer", "target", "by", "stratum", "value", "low", "high", "se", "p", "p_holm",
    "share_better", "n_images", "n_groups", "n_seeds", "seeds", *(f"n_{status}" for status in NOT_OK), "n_lost", "interval", "reason", "primary",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """What a table declares.

    `needs`: any of the TABLE_NAMES of figures/contract.py.
    `study_key`: the key of the study without which there is no such table; none: every study has it.
    """

    needs: tuple[str, ...]
    study_key: str | None = None


def estimate_cell(rows: pd.DataFrame, *, digits: int = 3, signed: bool = False) -> Cell:
    """Return value and interval of a table's only row as a cell; "-" if there is no row or no value."""
    if rows.empty:
        return Cell("-")
    row = rows.iloc[0]
    if pd.isna(row["value"]):
        return Cell("-", str(row["reason"]))
    value, low, high = (round(float(row[name]), digits) + 0.0 for name in ("value", "low", "high"))  # no minus zero
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    interval = "" if pd.isna(row["low"]) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return Cell(text + interval, str(row["reason"]))


def p_value_text(p: float) -> str:
    """Return a p-value for the end of a cell; nothing where there is none."""
    return "" if pd.isna(p) else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"


def count_cells(rows: pd.DataFrame) -> list[Cell]:
    """Return how many images and groups some rows rest on, and how many of their scores have no value."""
    return [Cell(count_range(rows[f"n_{what}"])) for what in ("images", "groups", *NOT_OK)]


def count_range(numbers: pd.Series) -> str:
    """Return a count, or the lowest and the highest of several."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{low} to {high}"


def interval_sentence(table: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """Return what the intervals of a table are, and how many groups, images and seeds they rest on."""
    table = table[table["value"].notna()]
    if table.empty:
        return "No value could be estimated."
    kinds = sorted(kind for kind in set(table["interval"]) if kind)
    intervals = (
        f"In brackets: {100 * about['level']:g} % intervals, {' or '.join(kinds)}."
        if kinds
        else "There are no intervals."
    )
    counts = (f"{count_range(table[f'n_{what}'])} {what}" for what in ("groups", "images", "seeds"))
    return f"{intervals} {', '.join(counts)}."
