"""Write the rows of a finished study that the numbers and sentences of docs/embedded.md follow from.

    python docs/embedded_rows.py results/phantom      writes docs/embedded.tsv, or says what the page has and the study has not

A number of the page is `value [low, high]`; it needs a row whose three numbers round to it, of the network that its line or
column of a table names. A sentence of docs/embedded_sentences.yaml needs rows that all meet its condition, and must be in the
page. tests/repository/test_embedded_page.py checks page, sentences and rows against each other, without the study.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

DOCS = Path(__file__).parent
PAGE, SENTENCES, ROWS = DOCS / "embedded.md", DOCS / "embedded_sentences.yaml", DOCS / "embedded.tsv"
NAMES = ("kind", "arch", "method", "metric", "variant", "comparison", "against", "label", "interval", "status")
NUMBERS = ("value", "low", "high")
TRIPLE = re.compile(r"([+-]?\d+\.\d+) \[(-?\d+\.\d+), (-?\d+\.\d+)\]")


class Quoted(NamedTuple):
    """A number of the page with its interval, and the network that its place in a table names."""

    value: str
    low: str
    high: str
    arch: str

    @property
    def text(self) -> str:
        return f"{self.value} [{self.low}, {self.high}]"


def quoted_numbers(page: str, archs: set[str]) -> list[Quoted]:
    """Return every number with an interval; a table's first cell, or the head of its column, may name a network."""
    found, head, prose = list[Quoted](), list[str](), list[str]()
    for line in page.splitlines():
        if not line.startswith("|"):
            head = []
            prose.append(line.strip())
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        head = head or cells
        for cell, name in zip(cells, head, strict=True):
            arch = next((one for one in (cells[0], name) if one in archs), "")
            found += [Quoted(*match, arch) for match in TRIPLE.findall(cell)]
    return found + [Quoted(*match, "") for match in TRIPLE.findall(" ".join(prose))]


def rows_that_round_to(rows: pd.DataFrame, number: Quoted) -> pd.DataFrame:
    """Return the rows whose value and interval have these digits."""
    kept = rows[rows["arch"] == number.arch] if number.arch else rows
    for name in NUMBERS:
        text = getattr(number, name)
        digits = len(text.partition(".")[2])
        kept = kept[(kept[name] - float(text)).abs() <= 0.5 * 10**-digits + 1e-6]
    return kept


def all_rows(results: Path) -> pd.DataFrame:
    """Return the rows of a study's tables, gates and claims, one per number and interval."""
    classification = pd.read_parquet(results / "classification.parquet").assign(kind="classification")
    estimates = pd.read_parquet(results / "estimates.parquet").astype({"arch": "str", "arch2": "str"})
    own = estimates["arch2"].isin([""]) | (estimates["arch2"] == estimates["arch"])
    tables = [
        classification.rename(columns={"class": "label"}),
        estimates[own & (estimates["by"] == "")].assign(kind="estimate"),
    ]
    contrasts = pd.read_parquet(results / "contrasts.parquet").assign(kind="contrast")
    family = contrasts.drop(columns=["low", "high"]).rename(columns={"low_family": "low", "high_family": "high"})
    tables += [contrasts.assign(interval="one"), family.assign(interval="family")]
    claims = pd.read_parquet(results / "claims.parquet") if (results / "claims.parquet").exists() else pd.DataFrame()
    if len(claims):
        first = claims.sort_values("decides", ascending=False).drop_duplicates("claim")
        tables.append(first.assign(kind="claim", status=first["verdict"], method=first["claim"]))
    tables.append(pd.DataFrame(_verdict_rows(json.loads((results / "verdict.json").read_text()))))
    table = pd.concat([one.reindex(columns=[*NAMES, *NUMBERS]) for one in tables], ignore_index=True)
    return table.assign(**{name: table[name].astype("object").fillna("").astype("str") for name in NAMES})


def _verdict_rows(verdict: dict) -> Iterator[dict]:  # type: ignore[type-arg]
    for one in verdict["methods"]:
        head = {"arch": one["arch"], "method": one["method"]}
        yield {**head, "kind": "verdict", "status": one["verdict"]}
        for gate in one["gates"]:
            yield {
                **head,
                "kind": "gate",
                "metric": gate["name"],
                "variant": gate["decisive"],
                "status": gate["status"],
            }
            for part in gate["parts"]:
                named = {"metric": gate["name"], "variant": part["name"], "status": part["status"]}
                yield {**head, **named, "kind": "part", **{name: part[name] for name in NUMBERS}}


def rows_of_sentence(rows: pd.DataFrame, sentence: dict) -> pd.DataFrame:  # type: ignore[type-arg]
    """Return the rows that a sentence is about."""
    for name, wanted in sentence["rows"].items():
        rows = rows[rows[name].isin(wanted if isinstance(wanted, list) else [wanted])]
    return rows


def one_line(text: str) -> str:
    return " ".join(text.split())


def main(results: Path) -> int:
    rows, page = all_rows(results), PAGE.read_text()
    archs, kept, problems = set(rows["arch"]) - {""}, list[pd.DataFrame](), list[str]()
    for number in quoted_numbers(page, archs):
        found = rows_that_round_to(rows, number)
        kept.append(found.head(1).assign(follows=number.text))
        problems += [] if len(found) else [f"no row for {number.arch} {number.text}"]
    for sentence in yaml.safe_load(SENTENCES.read_text()):
        found = rows_of_sentence(rows, sentence)
        kept.append(found.assign(follows=sentence["says"]))
        if not len(found) or not found.eval(sentence["holds"]).all():
            problems.append(f"the rows do not say: {sentence['says']}\n{found.to_string()}")
        if one_line(sentence["says"]) not in one_line(page):
            problems.append(f"not in the page: {sentence['says']}")
    table = pd.concat(kept, ignore_index=True).drop_duplicates()
    table[["follows", *NAMES, *NUMBERS]].to_csv(ROWS, sep="\t", index=False, float_format="%.6f")
    print("\n".join([*problems, f"{len(table)} rows in {ROWS.name}, {len(problems)} problems"]))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
