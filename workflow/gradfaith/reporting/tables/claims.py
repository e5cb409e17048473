"""The claims of a study: what each sentence was compared with, and whether the study supports or refutes it.

Numbers and verdicts come from stats/claims.py. The first block has a line per claim with the number that decides it, the
second a line per case, the third the claims that the study cannot test. The CSV holds every number.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting.metric_rows import display_column, records
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell
from gradfaith.stats.claims import SUPPORTED, VERDICTS
from gradfaith.vocabulary import NOT_TESTABLE

TABLE = Table(needs=("claims",), study_key="claims", section="Claims", place=2, title="Claims of papers on this study")
RULE = (
    "A claim is a sentence with a margin. It is supported if the interval of its number lies completely beyond the margin, "
    "refuted if it lies completely on the other side, and undecided if it contains the margin. A case that does not meet a "
    "precondition of the claim is not testable and is not counted. A claim over "
    "several cases or numbers counts as one test, so the ends of its intervals are adjusted for them."
)
LIMITS = (
    "A verdict holds for the data, networks and methods of this study: it does not confirm or refute the paper. Nothing "
    "adjusts for the number of claims. A claim that is not testable says nothing about the sentence."
)
NUMBER_HEADS = ("case", "number", "metric", "value", "margin")
CASE_HEADS = ("claim", "verdict", "numbers supported", "case", "worst number", *NUMBER_HEADS[2:])


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return a line per claim with the number that decides it, then the cases, then the claims that are not testable."""
    table = tables["claims"]
    firsts = table.drop_duplicates("claim")
    counts = firsts["verdict"].value_counts()
    count = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts)
    without = firsts["verdict"] == NOT_TESTABLE
    missing = [[*_sentence(row), Cell(row["why"])] for row in records(firsts[without])]
    blocks = [
        Block(
            "Claims",
            ["claim", "sentence", "paper", "verdict", *NUMBER_HEADS],
            _claim_lines(table, firsts[~without], about),
        ),
        Block("Cases of claims with several numbers", CASE_HEADS, _case_lines(table[table["value"].notna()], about)),
        Block("Not testable on this study", ["claim", "sentence", "paper", "reason"], missing),
    ]
    lead = (RULE, LIMITS, f"{len(firsts)} claims: {count}.", *about.notes)
    return Sheet(f"Claims, {about.title}", lead, [block for block in blocks if block.rows], table)


def _claim_lines(table: pd.DataFrame, firsts: pd.DataFrame, about: StudyDescription) -> list[list[Cell]]:
    deciding = table[table["decides"].astype(bool)]
    return [
        [*_sentence(row), Cell(row["verdict"]), *_number_cells(deciding[deciding["claim"] == row["claim"]], about)]
        for row in records(firsts)
    ]


def _sentence(row: Mapping[str, Any]) -> list[Cell]:
    return [Cell(row["claim"]), Cell(row["says"]), Cell(row["paper"] or "-")]


def _number_cells(rows: pd.DataFrame, about: StudyDescription) -> list[Cell]:
    """Return what one number is, its interval and its margin."""
    row = rows.iloc[0]
    metric = display_column((str(row["metric"]), str(row["variant"])), about.metrics) if row["metric"] else "-"
    condition = f"{row['condition']}, {row['label']}" if row["label"] else str(row["condition"])
    condition += " (precondition)" if row["precondition"] else ""
    margin = f"{'>' if row['side'] == 'above' else '<'} {row['margin']:g}"
    return [Cell(str(row["case"])), Cell(condition), Cell(metric), estimate_cell(rows), Cell(margin)]


def _case_lines(tested: pd.DataFrame, about: StudyDescription) -> list[list[Cell]]:
    """Return a line per case of claims with several numbers, with the number that is least beyond its margin."""
    lines = []
    for claim, rows in tested.groupby("claim", sort=False):
        for case, numbers in rows.groupby("case", sort=False):
            if len(rows) > 1:
                held = int((numbers["number_verdict"] == SUPPORTED).sum())
                worst = numbers.loc[[_distance(numbers).idxmin()]]
                verdict, share = str(worst["case_verdict"].iloc[0]), f"{held} of {len(numbers)}"
                first = [Cell(str(claim)), Cell(verdict), Cell(share), Cell(str(case))]
                lines.append([*first, *_number_cells(worst, about)[1:]])
    return lines


def _distance(numbers: pd.DataFrame) -> "pd.Series[float]":
    """Return how far each number is beyond its margin, on the side that the claim names."""
    above = numbers["value"] - numbers["margin"]
    return above.where(numbers["side"] == "above", -above)
