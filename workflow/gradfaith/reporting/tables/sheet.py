"""Write a sheet, a few tables with their footnotes, as Markdown, CSV or LaTeX.

Cells are text; a cell that has something to explain carries the reason, and equal reasons share one footnote. LaTeX wants
the package booktabs and nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

import pandas as pd

TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


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
    """Sentences, tables, and the same numbers in full."""

    title: str
    lead: Sequence[str]
    blocks: Sequence[Block]
    data: pd.DataFrame

    @property
    def footnotes(self) -> dict[str, str]:
        """reason -> its mark, in order of appearance."""
        whys = dict.fromkeys(
            cell.footnote for block in self.blocks for row in block.rows for cell in row if cell.footnote
        )
        return {why: _letters(place) for place, why in enumerate(whys)}


def add_caution(sheet: Sheet, caution: str) -> Sheet:
    """Return the sheet with a warning before all else, in its CSV as a column; unchanged if there is none."""
    if not caution:
        return sheet
    return replace(sheet, lead=(f"**{caution}**", *sheet.lead), data=sheet.data.assign(caution=caution))


def csv(sheet: Sheet) -> str:
    """Return the numbers of a sheet as CSV, one per line, unrounded."""
    return sheet.data.to_csv(index=False, lineterminator="\n")


def markdown(sheet: Sheet) -> str:
    """Return a sheet as Markdown: sentences, pipe tables, footnotes."""
    notes = sheet.footnotes
    lines = [f"# {sheet.title}", "", *(f"{sentence}\n" for sentence in sheet.lead)]
    for block in sheet.blocks:
        lines += [f"## {block.caption}", "", _pipes(block.header), _pipes(["---"] * len(block.header))]
        for row in block.rows:
            lines.append(
                _pipes(
                    [
                        cell.text.replace("|", r"\|") + (f"<sup>{notes[cell.footnote]}</sup>" if cell.footnote else "")
                        for cell in row
                    ]
                )
            )
        lines.append("")
    return "\n".join([*lines, *(f"<sup>{mark}</sup> {why}  " for why, mark in notes.items())]).rstrip() + "\n"


def latex(sheet: Sheet) -> str:
    """Return a sheet as LaTeX, one table environment per block, to be read with \\input."""
    notes = sheet.footnotes
    lines = [f"% {sheet.title}", *(f"% {sentence}" for sentence in sheet.lead)]
    for block in sheet.blocks:
        used = {cell.footnote for row in block.rows for cell in row if cell.footnote}
        lines += [r"\begin{table*}", r"\centering\scriptsize", rf"\caption{{{escaped(block.caption)}}}"]
        lines += [
            rf"\begin{{tabular}}{{l{'c' * (len(block.header) - 1)}}}",
            r"\toprule",
            _ampersands(map(escaped, block.header)),
            r"\midrule",
        ]
        for row in block.rows:
            lines.append(
                _ampersands(
                    escaped(cell.text) + (rf"\textsuperscript{{{notes[cell.footnote]}}}" if cell.footnote else "")
                    for cell in row
                )
            )
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [
            rf"\par\smallskip\textsuperscript{{{mark}}} {escaped(why)}" for why, mark in notes.items() if why in used
        ]
        lines += [r"\end{table*}", ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(TEX.get(letter, letter) for letter in text)


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ampersands(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _letters(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (ascii_lowercase[place // 26 - 1] if place >= 26 else "") + ascii_lowercase[place % 26]
