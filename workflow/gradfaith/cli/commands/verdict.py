"""gradfaith verdict STUDY: print the gates and the verdict of each architecture and method."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from gradfaith.cli.command import Command, add_json_argument, add_study_argument, format_json, read_any_plan
from gradfaith.dag.tabular import TablePlan
from gradfaith.errors import NotInStudy
from gradfaith.reporting.escaping import one_line
from gradfaith.reporting.row_words import in_rows
from gradfaith.reporting.tables.verdict import USEFULNESS, margin_text, number_text, open_text, sentences
from gradfaith.stats.verdict import NOT_MEASURED, TITLES, MethodVerdict, StudyVerdict
from gradfaith.storage import json_file

COMMAND = Command(summary="print the verdict of a finished study: the gates of each architecture and method")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print verdict.json as text, or as it is."""
    _, plan = read_any_plan(arguments.study)
    path, study = Path.cwd() / plan.paths.verdict, plan.study.study
    if not path.is_file():
        raise NotInStudy(
            problem=f"there is no file results/{study}/verdict.json.",
            reason="The command reads the verdict of a finished study. A study with `verdict: false` has none.",
            fix=f"Run study {study} first, without `verdict: false`: gradfaith run {arguments.study}",
        )
    content = json_file.read(path)
    if arguments.json:
        print(format_json(content))
        return
    change = in_rows if isinstance(plan, TablePlan) else str
    for one in StudyVerdict.of_content(content).methods:
        print("\n".join(_lines(one, change)), end="\n\n")
    print("Not for clinical use.")


def _lines(one: MethodVerdict, change: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines of one architecture and method; `change` gives every text the words of the study."""
    yield f"{one.method} on {one.arch}: {one.verdict.upper()}"
    rows: list[tuple[str, ...]] = []
    for criterion in one.scorecard:
        for name in criterion.gates:
            gate = one.gate(name)
            by = f" ({gate.decisive})" if gate.decisive else ""
            rows.append(
                (criterion.name, TITLES[name], gate.status, number_text(gate) + by, margin_text(gate), open_text(gate))
            )
        if criterion.status == NOT_MEASURED:
            rows.append((criterion.name, "-", NOT_MEASURED, "", "", USEFULNESS))
    rows = [tuple(map(change, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{one_line(cell):<{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells).rstrip()}"
    yield from (f"  {change(sentence)}" for sentence in sentences(one))
