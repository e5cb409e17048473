"""Define what a table is, turn estimates into cells and sentences, and write them as Markdown, HTML, CSV or LaTeX.

    TABLE = Table(needs=("estimates", "contrasts"))
    def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet

A table is one file; its stem is the table's name. `needs` lists the files that it reads. They are the rule's inputs, so a
table is written again only if one of them changes. `about` has the facts about the study: title, classes, architectures,
seeds, controls, primary, metrics (label -> plug-in), better, level, ranks, evidence, notes. Numbers are shown as stats/
returns them: nothing is computed here. If there is no interval, a footnote gives the reason.

A `Sheet` is what a table returns: a few blocks with their footnotes. Cells are text; a cell that has something to explain
carries the reason, and equal reasons share one footnote. LaTeX wants the package booktabs and nothing else.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Any

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting.escaping import html as text_of
from gradfaith.reporting.escaping import latex as tex
from gradfaith.reporting.escaping import markdown as md
from gradfaith.reporting.metric_rows import intervals_phrase
from gradfaith.stats.intervals import ESTIMAND
from gradfaith.vocabulary import NOT_OK

ESTIMATE_COLUMNS = (
    "comparison", "label",
    "arch", "arch2", "method", "against", "metric", "variant", "layer", "target", "by", "stratum", "value", "low", "high", "se", "df", "p",
    "low_family", "high_family", "p_family", "share_better", "margin", "p_equivalent", "n_images", "n_groups",
    "n_seeds", "seeds", "sd_seeds", "seed_values",
    *(f"n_{status}" for status in NOT_OK), "n_lost", "interval", "reason", "primary",
)  # fmt: skip


PLAIN_NUMBER = re.compile(r"-|[+-]?\d+(\.\d+)?")
MINUS, MINUS_SIGN = re.compile(r"(?<![\w.])-(?=\d)"), "\N{MINUS SIGN}"  # of a number, not of a name
STYLE = """
.gradfaith { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 1.5em; }
.gradfaith h1 { font-size: 1.5em; margin: 0 0 .6em; line-height: 1.25; }
.gradfaith h2 { font-size: 1.1em; margin: 1.6em 0 .4em; }
.gradfaith p, .gradfaith ul { max-width: 46em; margin: .5em 0; }
.gradfaith .wide { overflow-x: auto; max-width: 100%; }
.gradfaith table { border-collapse: collapse; font-size: .87em; font-variant-numeric: tabular-nums; }
.gradfaith th, .gradfaith td { padding: .25em .9em .25em 0; text-align: left; white-space: nowrap; vertical-align: bottom; }
.gradfaith thead th { border-bottom: 1px solid #767676; white-space: normal; min-width: 4.5em; }
.gradfaith tbody th { font-weight: normal; position: sticky; left: 0; background: #fff; }
.gradfaith tbody tr { border-bottom: 1px solid #e8e8e8; }
.gradfaith .count { text-align: right; }
.gradfaith sup { color: #767676; line-height: 0; }
"""
COUNTS = ("images", "groups", *NOT_OK)  # columns n_... of estimates
COUNT_HEADS = ("images", "groups", *(f"{status} scores" for status in NOT_OK))


@dataclass(frozen=True)
class Table:
    """The declaration of a table.

    `needs`: any of the TABLE_NAMES of figures/contract.py.
    `study_key`: the key of the study without which there is no such table; none: every study has it.
    `optional`: only a study that names it under `tables` has it.
    `section`, `place`, `title`: as of a figure.
    """

    needs: tuple[str, ...]
    section: str = "Other results"
    place: int = 99
    title: str = ""
    study_key: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Cell:
    """The text of a cell, and the reason for a missing part."""

    text: str
    footnote: str = ""


@dataclass(frozen=True)
class Block:
    """One part of a sheet: sentences, and a table unless `header` is empty."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Sheet:
    """Sentences, tables, and the same numbers in full; `caution` is a warning at the top."""

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


def estimate_text(row: Mapping[Any, Any], digits: int = 2, *, signed: bool = False) -> str:
    """Return value and interval of a row for a sentence."""
    cell = estimate_cell(pd.DataFrame([row]), digits=digits, signed=signed)
    return "undefined" if cell.text == "-" else cell.text


def p_value_text(p: float) -> str:
    """Return a p-value for the end of a cell; nothing where there is none."""
    return "" if pd.isna(p) else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"


def count_cells(rows: pd.DataFrame) -> list[Cell]:
    """Return how many images and groups some rows rest on, and how many of their scores have no value."""
    return [Cell(count_range(rows[f"n_{what}"])) for what in COUNTS]


def count_range(numbers: pd.Series) -> str:
    """Return a count, or the lowest and the highest of several."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{low} to {high}"


def architecture_block(
    caption: str, architectures: Iterable[str], columns: Sequence[str], cell: Callable[[str, str], Cell]
) -> Block:
    """Return a block with a row per architecture; `cell`: of an architecture and a column."""
    rows = [[Cell(arch), *(cell(arch, column) for column in columns)] for arch in architectures]
    return Block(caption, ["architecture", *columns], rows)


def interval_sentence(table: pd.DataFrame, about: StudyDescription) -> str:
    """Return what the intervals of a table cover, and how many images its numbers rest on."""
    table = table[table["value"].notna()]
    if table.empty:
        return "No value could be estimated."
    intervals = intervals_phrase(table, about.level)
    brackets = f"Brackets hold {intervals}" if table["low"].notna().any() else "No number has an interval"
    known = table["df"].dropna() if "df" in table else table["value"][:0]
    low, high = (f"{end:.1f}" for end in (known.min(), known.max()))
    freedom = f", with {low if low == high else f'{low} to {high}'} degrees of freedom" if len(known) else ""
    return f"{brackets}{freedom}. The numbers rest on {count_range(table['n_images'])} images of {count_range(table['n_groups'])} groups. {ESTIMAND}"


def add_caution(sheet: Sheet, caution: str) -> Sheet:
    """Return the sheet with a warning, in its CSV as a column; unchanged if there is none."""
    return replace(sheet, caution=caution, data=sheet.data.assign(caution=caution)) if caution else sheet


def reword(sheet: Sheet, change: Callable[[str], str], title: str) -> Sheet:
    """Return the sheet with all its texts changed, without the study's `title` and the CSV data."""
    what, mark, name = sheet.title.partition(f", {title}")
    return replace(
        sheet,
        title=change(what) + mark + name,
        lead=tuple(map(change, sheet.lead)),
        blocks=tuple(reword_block(block, change) for block in sheet.blocks),
    )


def reword_block(block: Block, change: Callable[[str], str]) -> Block:
    """Return the block with all its texts changed."""
    rows = [[Cell(change(cell.text), change(cell.footnote)) for cell in row] for row in block.rows]
    return Block(change(block.caption), tuple(map(change, block.header)), rows, tuple(map(change, block.sentences)))


def csv(sheet: Sheet) -> str:
    """Return the numbers of a sheet as CSV, one per line, unrounded."""
    return sheet.data.to_csv(index=False, lineterminator="\n")


def markdown(sheet: Sheet) -> str:
    """Return a sheet as Markdown: sentences, pipe tables, footnotes."""
    notes = sheet.footnotes
    warning = [f"**{md(sheet.caution)}**\n"] if sheet.caution else []
    lines = [f"# {md(sheet.title)}", "", *warning, *(f"{md(sentence)}\n" for sentence in sheet.lead)]
    for block in sheet.blocks:
        lines += [f"## {md(block.caption)}", "", *(f"- {md(sentence)}" for sentence in block.sentences)]
        if block.header:
            lines += [*[""] * bool(block.sentences), _pipes(map(md, block.header)), _pipes(["---"] * len(block.header))]
        for row in block.rows:
            marks = (f"<sup>{notes[cell.footnote]}</sup>" if cell.footnote else "" for cell in row)
            lines.append(_pipes(md(cell.text) + mark for cell, mark in zip(row, marks, strict=True)))
        lines.append("")
    return "\n".join([*lines, *(f"<sup>{mark}</sup> {md(why)}  " for why, mark in notes.items())]).rstrip() + "\n"


def html(sheet: Sheet) -> str:
    """Return a sheet as an HTML page: sentences, tables that scroll sideways, footnotes.

    Its styles hold inside its one <main> only, so Snakemake's report can also show the page as part of another one.
    """
    notes = sheet.footnotes
    warning = [f"<p><strong>{text_of(sheet.caution)}</strong></p>"] if sheet.caution else []
    parts = [f"<h1>{text_of(sheet.title)}</h1>", *warning, *(f"<p>{text_of(sentence)}</p>" for sentence in sheet.lead)]
    for block in sheet.blocks:
        parts.append(f"<h2>{text_of(block.caption)}</h2>")
        items = [f"<li>{text_of(sentence)}</li>" for sentence in block.sentences]
        parts += ["<ul>", *items, "</ul>"] if items else []
        parts += ['<div class="wide"><table>', *_html_rows(block, notes), "</table></div>"] if block.header else []
    parts += [f"<p><sup>{mark}</sup> {text_of(why)}</p>" for why, mark in notes.items()]
    head = f'<!doctype html>\n<meta charset="utf-8">\n<title>{text_of(sheet.title)}</title>\n<style>{STYLE}</style>\n'
    return head + "\n".join(['<main class="gradfaith">', *parts, "</main>"]) + "\n"


def _html_rows(block: Block, notes: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a table: columns of plain numbers to the right, and a minus as wide as a plus."""
    columns = zip(*block.rows, strict=True) if block.rows else ((Cell(""),) for _ in block.header)
    kinds = [' class="count"' if all(map(_is_plain_number, column)) else "" for column in columns]
    heads = (f"<th{kind}>{text_of(head)}</th>" for head, kind in zip(block.header, kinds, strict=True))
    yield f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>"
    for first, *others in block.rows:
        cells = [f"<th>{_html_cell(first, first.text, notes)}</th>"]
        for cell, kind in zip(others, kinds[1:], strict=True):
            cells.append(f"<td{kind}>{_html_cell(cell, MINUS.sub(MINUS_SIGN, cell.text), notes)}</td>")
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>"


def _html_cell(cell: Cell, text: str, notes: Mapping[str, str]) -> str:
    return text_of(text) + (f"<sup>{notes[cell.footnote]}</sup>" if cell.footnote else "")


def _is_plain_number(cell: Cell) -> bool:
    return PLAIN_NUMBER.fullmatch(cell.text) is not None


def latex(sheet: Sheet) -> str:
    """Return a sheet as LaTeX, one table environment per block, to be read with \\input."""
    notes = sheet.footnotes
    lines = [f"% {tex(sentence)}" for sentence in (sheet.title, sheet.caution, *sheet.lead) if sentence]
    for block in sheet.blocks:
        if not block.header:
            lines += [rf"\paragraph{{{tex(block.caption)}}}", *map(tex, block.sentences), ""]
            continue
        used = {cell.footnote for row in block.rows for cell in row if cell.footnote}
        lines += [f"% {tex(sentence)}" for sentence in block.sentences]
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
    """Return a, b, ..., z, aa, ab, ..."""
    return (ascii_lowercase[place // 26 - 1] if place >= 26 else "") + ascii_lowercase[place % 26]
