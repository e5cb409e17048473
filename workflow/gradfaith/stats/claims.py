"""Decide claims: is a number beyond its margin, and in how many of the cases of a study?

    number      one statistic with its interval (stats/claim_numbers.py); margin d; side `above` (or `below`, mirrored)
    supported   the interval lies wholly above d            refuted   wholly below d            undecided   it holds d
    case        supported if all its m numbers are; refuted if one of them is
                a number may be a precondition: if it is refuted, the case is not testable and leaves k; if open, so is the case
    claim       supported if u of its k cases are; refuted if so many cases are refuted that u cannot be reached
                u = k (all), k // 2 + 1 (most), 1 (any)

A claim is decided at the level of the study as one test. So the two ends of an interval have levels of their own, and an
interval, its margin and its verdict always agree:                                                      [benjamini2008]

    end towards the margin if the claim holds    1 - a / (k - u + 1)      u of k cases: a partial conjunction, by Bonferroni
    the other end                                1 - a / (u m)            k - u + 1 refuted cases, each by one of m numbers

Within a case no adjustment is needed to support: all m numbers must be beyond their margins (intersection-union). m does not
count preconditions. The levels count all k cases, so the choice of cases by preconditions makes no error more likely. A claim
is not testable if the study lacks something that it needs, and then the reason says what; so is a number without an interval.
`decides` marks the number that the verdict depends on: in standard errors from its margin, the worst number of each case (of its
preconditions, if one is open), and of the cases the one with the u-th best.
The verdicts of several claims are not adjusted for their number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.stats.claim_data import EACH, ClaimData, ClaimTest
from gradfaith.stats.claim_numbers import numbers_of_tests
from gradfaith.stats.interval_scales import Bounds, Estimates, IntervalRule, interval_ends
from gradfaith.stats.intervals import INTERVAL_COLUMNS_WITHOUT_P
from gradfaith.stats.spread import FloatArray
from gradfaith.vocabulary import ALL_CLASSES, NOT_TESTABLE, UNDECIDED

SUPPORTED, REFUTED = "supported", "refuted"
ACCURACY = "classification"  # the quantity that is itself a rate of classification
VERDICTS = (SUPPORTED, REFUTED, UNDECIDED, NOT_TESTABLE)
CLAIM_COLUMNS = (
    "claim", "says", "paper", "over", "verdict", "why", "n_cases", "n_supported", "n_refuted", "case", "case_verdict", "condition",
    "precondition", "number_verdict", "decides", "quantity", "metric", "variant", "label", "margin", "side", "level_low", "level_high",
    *INTERVAL_COLUMNS_WITHOUT_P,
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A sentence with its tests on a study."""

    name: str
    says: str
    paper: str
    over: str  # all, most or any
    tests: Sequence[ClaimTest]
    missing: str = ""  # why the study cannot test it

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Claim":
        """Return a claim from plain values."""
        return cls(**{**plain, "tests": [ClaimTest.of(test) for test in plain["tests"]]})

    def needed(self, cases: int) -> int:
        """Return the number of cases in which the claim must hold."""
        return {"all": cases, "most": cases // 2 + 1, "any": min(cases, 1)}[self.over]


def evaluate_claims(claims: Iterable[Claim], data: ClaimData, min_accuracy: float = 0.0) -> pd.DataFrame:
    """Return one row per number of every claim, with the verdicts of the number, its case and the claim.

    On an architecture with a balanced accuracy below `min_accuracy` no claim is tested.
    """
    weak = weak_architectures(data.classification, min_accuracy)
    tables = [_evaluate_claim(claim, data, weak) for claim in claims]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(CLAIM_COLUMNS))
    return table[list(CLAIM_COLUMNS)]


def weak_architectures(classification: pd.DataFrame, min_accuracy: float) -> dict[str, str]:
    """Return architecture -> reason, for those whose balanced accuracy is below the least one."""
    if not min_accuracy:
        return {}
    rows = classification[(classification["class"] == ALL_CLASSES) & (classification["metric"] == "balanced_accuracy")]
    found = zip(rows["arch"], rows["value"], strict=True)
    return {arch: f"balanced accuracy of {arch}: {value:.2f}, below {min_accuracy:g}" for arch, value in found
            if not value >= min_accuracy}  # fmt: skip


def _without_weak(numbers: pd.DataFrame, tests: Iterable[ClaimTest], weak: Mapping[str, str]) -> pd.DataFrame:
    """Return numbers without the intervals of those that rest on a weak architecture, with the reason."""
    why = {
        (test.case, test.condition, test.metric): "; ".join(
            dict.fromkeys(weak[t.arch] for t in test.terms if t.arch in weak)
        )
        for test in tests
        if test.quantity != ACCURACY
    }
    keys = zip(numbers["case"], numbers["condition"], numbers["metric"], strict=True)
    reason = pd.Series([why.get(key, "") for key in keys], index=numbers.index)
    left_out = reason != ""
    numbers = numbers.assign(reason=numbers["reason"].mask(left_out, reason))
    numbers.loc[left_out, ["low", "high"]] = np.nan
    return numbers


def _evaluate_claim(claim: Claim, data: ClaimData, weak: Mapping[str, str]) -> pd.DataFrame:
    head = {"claim": claim.name, "says": claim.says, "paper": claim.paper, "over": claim.over}
    numbers = pd.DataFrame() if claim.missing else numbers_of_tests(claim.tests, data)
    if numbers.empty:
        why = claim.missing or "the study has no test for it"
        blank = dict.fromkeys(CLAIM_COLUMNS, np.nan) | dict.fromkeys(_texts(), "")
        blank |= {"decides": False, "precondition": False} | dict.fromkeys(
            ("n_cases", "n_supported", "n_refuted", "n_images", "n_groups", "n_seeds"), 0
        )
        return pd.DataFrame([blank | head | {"verdict": NOT_TESTABLE, "why": why}])
    numbers = decide_numbers(_with_cases(_without_weak(numbers, claim.tests, weak)), claim, data.rule)
    decides = numbers.index == _deciding(claim, numbers)
    found: dict[str, Any] = {**head, **_decide(claim, numbers)}
    return numbers.assign(**found, decides=decides)


def _texts() -> tuple[str, ...]:
    """Return the columns that hold text."""
    return ("why", "case", "case_verdict", "condition", "number_verdict", "quantity", "metric", "variant", "label", "side",
            "seeds", "seed_values", "interval", "reason")  # fmt: skip


def _with_cases(numbers: pd.DataFrame) -> pd.DataFrame:
    """Make every variant of a test over each variant a case, and add the other numbers of the case to each of them."""
    is_each = numbers.pop("asked_variant") == EACH
    if not is_each.any():
        return numbers
    each, other = numbers[is_each], numbers[~is_each]
    pairs = each[["case", "variant"]].drop_duplicates().rename(columns={"variant": "of"})
    copies = other.merge(pairs, on="case")
    table = pd.concat([copies, each.assign(of=each["variant"])], ignore_index=True)
    return table.assign(case=table["case"] + ", " + table.pop("of"))


def decide_numbers(numbers: pd.DataFrame, claim: Claim, rule: IntervalRule) -> pd.DataFrame:
    """Return the numbers of a claim with the ends of their intervals at the claim's levels, and what they decide."""
    cases = numbers["case"].nunique()
    needed, alpha = claim.needed(cases), 1 - rule.level
    tested = (~numbers["precondition"]).groupby(numbers["case"], sort=False).transform("sum").to_numpy(np.float64)
    towards, away = np.full(len(numbers), alpha / (cases - needed + 1)), alpha / (needed * np.maximum(tested, 1))
    above = numbers["side"].to_numpy() == "above"
    table = numbers.assign(level_low=1 - np.where(above, towards, away), level_high=1 - np.where(above, away, towards))
    for end in ("low", "high"):
        table[end] = [_end(row, end) for row in table.to_dict("records")]
    margin, known = table["margin"].to_numpy(np.float64), table["low"].notna().to_numpy()
    beyond, before = table["low"].to_numpy() > margin, table["high"].to_numpy() < margin
    holds, fails = np.where(above, beyond, before), np.where(above, before, beyond)
    verdict = np.select([~known, holds, fails], [NOT_TESTABLE, SUPPORTED, REFUTED], UNDECIDED)
    table = table.drop(columns=["bound_low", "bound_high"]).assign(number_verdict=verdict)
    of_case = {case: decide_case(own["number_verdict"], own["precondition"]) for case, own in table.groupby("case")}
    return table.assign(case_verdict=table["case"].map(of_case))


def _end(row: Mapping[Any, Any], end: str) -> float:
    """Return one end of an interval at its own level."""
    if pd.isna(row["low"]):
        return float("nan")
    bounds = Bounds(row["bound_low"], row["bound_high"])
    numbers = Estimates.of([row["value"]], [row["se"]], [row["df"]], [row["n_images"]], [row["n_groups"]])
    return float(getattr(interval_ends(numbers, bounds, row[f"level_{end}"]), end)[0])


def decide_case(verdicts: Iterable[str], preconditions: Iterable[bool]) -> str:
    """Return what the numbers of a case decide together: one that is refuted refutes, else all must be supported.

    A precondition that is not met leaves nothing to test; one that is open leaves the case open.
    """
    pairs = list(zip(verdicts, preconditions, strict=True))
    first, others = ({one for one, is_first in pairs if is_first == wanted} for wanted in (True, False))
    if first & {REFUTED, NOT_TESTABLE}:
        return NOT_TESTABLE
    if UNDECIDED in first:
        return NOT_TESTABLE if NOT_TESTABLE in others else UNDECIDED
    return next((one for one in (REFUTED, NOT_TESTABLE, UNDECIDED) if one in others), SUPPORTED)


def _applicable(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of the cases to which a claim applies: no precondition is refuted."""
    unmet = numbers.loc[numbers["precondition"] & (numbers["number_verdict"] == REFUTED), "case"]
    return numbers[~numbers["case"].isin(unmet)]


def _distances(numbers: pd.DataFrame) -> FloatArray:
    """Return how far each number is beyond its margin on the side of the claim, in standard errors."""
    sign = np.where(numbers["side"] == "above", 1.0, -1.0)
    value, margin, se = (numbers[name].to_numpy(np.float64) for name in ("value", "margin", "se"))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sign * (value - margin) / se)


def _deciding(claim: Claim, numbers: pd.DataFrame) -> int:
    """Return the row of the number that the verdict depends on; -1 if no number has an interval."""
    numbers = _applicable(numbers)
    is_open = numbers["precondition"] & (numbers["number_verdict"] != SUPPORTED)
    waits = is_open.groupby(numbers["case"], sort=False).transform("any")
    distance = pd.Series(_distances(numbers), numbers.index)[numbers["low"].notna() & (is_open | ~waits)]
    worst = distance.groupby(numbers["case"], sort=False).idxmin()
    ordered = distance[worst].sort_values(ascending=False, kind="stable").index
    return int(ordered[min(claim.needed(numbers["case"].nunique()), len(ordered)) - 1]) if len(ordered) else -1


def _decide(claim: Claim, numbers: pd.DataFrame) -> dict[str, str | int]:
    """Return the verdict of a claim, and why."""
    applies, every = _applicable(numbers), numbers["case"].nunique()
    of_case = applies.drop_duplicates("case")["case_verdict"]
    cases, count = len(of_case), of_case.value_counts().to_dict()
    needed, supported, refuted = claim.needed(cases), count.get(SUPPORTED, 0), count.get(REFUTED, 0)
    counts = {"n_cases": cases, "n_supported": supported, "n_refuted": refuted}
    if not cases:
        return {"verdict": NOT_TESTABLE, "why": f"precondition not met: {_nearest_precondition(numbers)}", **counts}
    ruled_out = [one for one in (REFUTED, NOT_TESTABLE) if count.get(one, 0) > cases - needed]
    verdict = SUPPORTED if supported >= needed else (ruled_out or [UNDECIDED])[0]
    why = f"supported in {supported} of {cases} cases, refuted in {refuted}" if cases > 1 else ""
    if verdict == NOT_TESTABLE:
        why = "; ".join(dict.fromkeys(applies.loc[applies["number_verdict"] == NOT_TESTABLE, "reason"]))
    unmet = f"precondition not met in {every - cases} of {every} cases" if cases < every else ""
    return {"verdict": verdict, "why": "; ".join(filter(None, (why, unmet))), **counts}


def _nearest_precondition(numbers: pd.DataFrame) -> str:
    """Return the refuted precondition that is nearest to its margin, in words."""
    unmet = numbers[numbers["precondition"] & (numbers["number_verdict"] == REFUTED)]
    row = unmet.to_dict("records")[int(np.argmax(_distances(unmet)))]
    interval = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    nearest = "nearest: " if len(unmet) > 1 else ""
    return f"{nearest}{row['condition']} of {row['case']} is {interval}, not {row['side']} {row['margin']:g}"
