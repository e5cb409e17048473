"""The table of verdicts: every gate of each architecture and method, its number, its margin, and what would decide it.

Gates are in the order of a scorecard: preconditions, consistency, plausibility, fidelity, usefulness (stats/verdict.py). A gate
with several parts shows the one that decides: the worst of those with the gate's result. The CSV file has all parts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_label
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table
from gradfaith.stats.gates import Gate, GatePart
from gradfaith.stats.verdict import NOT_MEASURED, TITLES, MethodVerdict, StudyVerdict
from gradfaith.vocabulary import NOT_TESTABLE, UNDECIDED

TABLE = Table(needs=("verdict",), study_key="verdict", section="Summary", place=2, title="Verdict, gate by gate")
HEAD = ("criterion", "gate", "result", "number", "margin", "decided by", "open, or why")
WHAT = (
    "A gate passes if its interval lies completely on the right side of the margin, fails if it lies completely on the wrong "
    "side, and is undecided otherwise. The verdict is fail if any gate fails, else incomplete if any gate is not testable, else "
    "undecided if any gate is undecided, else pass. All gates must pass, so their intervals are not adjusted. "
    "This limits false passes, not false fails."
)
USEFULNESS = "needs a study with readers"
ENOUGH = 100  # times as many groups: a larger figure is not printed


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return one block per architecture and method: its sentences and its gates."""
    study = StudyVerdict.of_content(metric_rows.records(tables["verdict"])[0])
    blocks = tuple(
        Block(f"{one.method} on {one.arch}: {one.verdict}", HEAD, _lines(one, about), sentences(one))
        for one in study.methods
    )
    lead = (WHAT, f"Brackets hold {100 * study.level:g} % intervals.", *about.notes, "Not for clinical use.")
    return Sheet(f"Verdict, {about.title}", lead, blocks, gate_rows(study))


def sentences(one: MethodVerdict) -> tuple[str, ...]:
    """Return what the verdict means, what must not be concluded, and what the intervals cover."""
    return one.statement, one.not_to_conclude, one.holds_for


def gate_rows(study: StudyVerdict) -> pd.DataFrame:
    """Return one row per part of a gate; a gate without a number has one row."""
    rows = [
        {
            "arch": one.arch, "method": one.method, "verdict": one.verdict, "gate": gate.name, "result": gate.status,
            "metric": gate.metric, "relation": gate.relation, "margin": gate.margin, "part": part.name if part else "",
            "decides": part is not None and part.name == gate.decisive,
            **{key: value for key, value in (asdict(part) if part else {"reason": gate.reason}).items() if key != "name"},
        }
        for one in study.methods
        for gate in one.gates
        for part in gate.parts or (None,)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _lines(one: MethodVerdict, about: StudyDescription) -> list[list[Cell]]:
    lines = []
    for criterion in one.scorecard:
        for name in criterion.gates:
            gate = one.gate(name)
            by = " ".join(filter(None, (display_label(gate.metric, about.metrics), gate.decisive)))
            texts = (TITLES[name], gate.status, number_text(gate), margin_text(gate), by, open_text(gate))
            lines.append([Cell(text or "-") for text in (criterion.name, *texts)])
        if criterion.status == NOT_MEASURED:
            lines.append([Cell(text) for text in (criterion.name, "-", NOT_MEASURED, "-", "-", "-", USEFULNESS)])
    return lines


def number_text(gate: Gate) -> str:
    """Return the number that decides a gate, with its interval."""
    part = gate.decisive_part
    if part is None or part.value is None:
        return ""
    if gate.relation == "<=":
        return f"{100 * part.value:.1f} % of {part.n_images} scores"
    if part.low is None or part.high is None or part.low == part.high:
        return f"{part.value:.3f}"
    return f"{part.value:.3f} [{part.low:.3f}, {part.high:.3f}]"


def margin_text(gate: Gate) -> str:
    """Return which end of the interval must be where."""
    if gate.relation == "<=":
        return f"at most {100 * gate.margin:g} %"
    end = "low" if gate.relation.startswith(">") else "high"
    return f"{end} {gate.relation} {gate.margin:.3g}"


def open_text(gate: Gate) -> str:
    """Return why a gate is not testable, or what would decide it."""
    part = gate.decisive_part
    if gate.status == NOT_TESTABLE:
        return gate.reason
    if gate.status != UNDECIDED or part is None:
        return ""
    return "; ".join(filter(None, (part.reason, "".join(_needed(part)))))


def _needed(part: GatePart) -> Iterator[str]:
    """Yield the numbers of groups and seeds that would decide a part with a chance of about one half."""
    if part.groups_needed is None:
        yield "" if part.reason else "the number is at the margin: no size of study decides it"
        return
    if part.groups_needed > ENOUGH * max(part.n_groups, 1):
        yield f"needs more than {ENOUGH} times the groups"
        return
    yield f"needs roughly {part.groups_needed} groups (now {part.n_groups})"
    if part.seeds_needed is not None:
        yield f" and {part.seeds_needed} seeds (now {part.n_seeds})"
