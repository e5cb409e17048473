"""Define what a table is, turn estimates into cells and sentences, and write them as Markdown, CSV or LaTeX.

    TABLE = Table(needs=("estimates", "contrasts"))
    def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet

A table is one file; its stem is the table's name. `needs` names the files that it reads. The rule makes them its inputs, so a
table is written again when one of these changes, and only then. `about` is what the study says of itself: title, classes,
architectures, seeds, controls, primary, metrics (label -> plug-in), better, level, ranks, evidence, notes. Numbers are written
as they come from stats/: nothing is computed here. Where there is no interval, a footnote gives the reason.

A `Sheet` is what a table returns: a few blocks with their footnotes. Cells are text; a cell that has something to explain
carries the reason, and equal reasons share one footnote. LaTeX wants the package booktabs and nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting.escaping import latex as tex
from gradfaith.reporting.escaping import markdown as md
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


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, and why it is not more."""

    text: str
    footnote: str = ""


@dataclass(frozen=True)
class Block:
    """One table."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Sheet:
    """Sentences, tables, and the same numbers in full; `caution` is a warning that stands before all else."""

    title: str
    lead: Sequence[str]
    blocks: Sequence[Block]
    data: pd.DataFrame
    caution: str = ""

    @property
    def footnotes(self) -> dict[str, str]:
        """reason -> its mark, in order of appearance."""
        whys = dict.fromkeys(
            cell.footnote for block in self.blocks for row in block.rows for cell in row if cell.footnote
        )
        return {why: _letters(place) for place, why in enumerate(whys)}


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


def interval_sentence(table: pd.DataFrame, about: StudyDescription) -> str:
    """Return what the intervals of a table are, and how many groups, images and seeds they rest on."""
    table = table[table["value"].notna()]
    if table.empty:
        return "No value could be estimated."
    kinds = sorted(kind for kind in set(table["interval"]) if kind)
    intervals = (
        f"In brackets: {100 * about.level:g} % intervals, {' or '.join(kinds)}." if kinds else "There are no intervals."
    )
    counts = (f"{count_range(table[f'n_{what}'])} {what}" for what in ("groups", "images", "seeds"))
    return f"{intervals} {', '.join(counts)}."


def add_caution(sheet: Sheet, caution: str) -> Sheet:
    """Return the sheet with a warning, in its CSV as a column; unchanged if there is none."""
    return replace(sheet, caution=caution, data=sheet.data.assign(caution=caution)) if caution else sheet


def csv(sheet: Sheet) -> str:
    """Return the numbers of a sheet as CSV, one per line, unrounded."""
    return sheet.data.to_csv(index=False, lineterminator="\n")


def markdown(sheet: Sheet) -> str:
    """Return a sheet as Markdown: sentences, pipe tables, footnotes."""
    notes = sheet.footnotes
    warning = [f"**{md(sheet.caution)}**\n"] if sheet.caution else []
    lines = [f"# {md(sheet.title)}", "", *warning, *(f"{md(sentence)}\n" for sentence in sheet.lead)]
    for block in sheet.blocks:
        lines += [f"## {md(block.caption)}", "", _pipes(map(md, block.header)), _pipes(["---"] * len(block.header))]
        for row in block.rows:
            marks = (f"<sup>{notes[cell.footnote]}</sup>" if cell.footnote else "" for cell in row)
            lines.append(_pipes(md(cell.text) + mark for cell, mark in zip(row, marks, strict=True)))
        lines.append("")
    return "\n".join([*lines, *(f"<sup>{mark}</sup> {md(why)}  " for why, mark in notes.items())]).rstrip() + "\n"


def latex(sheet: Sheet) -> str:
    """Return a sheet as LaTeX, one table environment per block, to be read with \\input."""
    notes = sheet.footnotes
    lines = [f"% {tex(sentence)}" for sentence in (sheet.title, sheet.caution, *sheet.lead) if sentence]
    for block in sheet.blocks:
        used = {cell.footnote for row in block.rows for cell in row if cell.footnote}
        lines += [r"\begin{table*}", r"\centering\scriptsize", rf"\caption{{{tex(block.caption)}}}"]
        lines += [
            rf"\begin{{tabular}}{{l{'c' * (len(block.header) - 1)}}}",
            r"\toprule",
            _ampersands(map(tex, block.header)),
            r"\midrule",
        ]
        for row in block.rows:
            marks = (rf"\textsuperscript{{{notes[cell.footnote]}}}" if cell.footnote else "" for cell in row)
            lines.append(_ampersands(tex(cell.text) + mark for cell, mark in zip(row, marks, strict=True)))
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\smallskip\textsuperscript{{{mark}}} {tex(why)}" for why, mark in notes.items() if why in used]
        lines += [r"\end{table*}", ""]
    return "\n".join(lines)


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ampersands(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _letters(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (ascii_lowercase[place // 26 - 1] if place >= 26 else "") + ascii_lowercase[place % 26]
