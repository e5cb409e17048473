"""A precondition that is not met leaves nothing to test: it never refutes a claim."""

from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
from claim_scores import ARCHS, claim_data, claim_test

from gradfaith.stats import claims
from gradfaith.stats.claim_data import ClaimData, ClaimTest
from gradfaith.stats.claim_numbers import numbers_of_tests
from gradfaith.stats.claims import Claim, evaluate_claims

ALWAYS, NEVER = 0.1, 0.8  # margins: Grad-CAM minus random-grid is about 0.35 on every network


@pytest.fixture(scope="module")
def data() -> ClaimData:
    whole = claim_data()
    rows = whole.scores(["saliency_score"])
    few = rows[rows["method"].isin(["gradcam", "random-grid"]) & rows["arch"].isin(ARCHS[:2])]
    return replace(whole, scores=lambda _metrics: few)


def number(arch: str, margin: float, *, precondition: bool) -> ClaimTest:
    kind = "precondition" if precondition else "number"
    terms = [(1.0, arch, "gradcam"), (-1.0, arch, "random-grid")]
    return claim_test(terms, case=arch, condition=kind, margin=margin, precondition=precondition)


def pairs_of_tests(margins: list[tuple[float, float]]) -> list[ClaimTest]:
    """Return one case per pair of margins: of its precondition, and of its number."""
    return [
        number(arch, margin, precondition=precondition)
        for arch, pair in zip(ARCHS, margins, strict=False)
        for margin, precondition in zip(pair, (True, False), strict=True)
    ]


def evaluate(data: ClaimData, margins: list[tuple[float, float]], over: str) -> pd.DataFrame:
    return evaluate_claims([Claim("c", "A sentence", "", over, pairs_of_tests(margins))], data)


def value(data: ClaimData, arch: str) -> float:
    table = evaluate_claims([Claim("c", "s", "", "all", [number(arch, 0.0, precondition=False)])], data)
    return float(table["value"].item())


def verdict_by_loops(table: pd.DataFrame, over: str) -> str:
    """Return the verdict of the claim from the ends of its intervals, case by case."""
    supported, refuted, applies = 0, 0, 0
    for case in dict.fromkeys(table["case"]):
        met, held, against = True, True, False
        skip = False
        for row in table.itertuples():
            if row.case != case:
                continue
            if row.precondition:
                skip = skip or row.high < row.margin
                met = met and row.low > row.margin
            else:
                held = held and row.low > row.margin
                against = against or row.high < row.margin
        if skip:
            continue
        applies += 1
        supported += met and held
        refuted += met and against
    needed = {"all": applies, "most": applies // 2 + 1, "any": 1}[over]
    if not applies:
        return "not testable"
    return "supported" if supported >= needed else "refuted" if refuted > applies - needed else "undecided"


@pytest.mark.parametrize("over", ["all", "most", "any"])
def test_every_combination_has_the_verdict_of_plain_loops(
    data: ClaimData, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cases with a precondition and a number each; + beyond, 0 at and - before the margin. Numbers are made once."""
    numbers = numbers_of_tests(pairs_of_tests([(0.0, 0.0)] * 2), data)
    monkeypatch.setattr(
        claims, "numbers_of_tests", lambda tests, _: numbers.assign(margin=[test.margin for test in tests])
    )
    at, seen = dict(zip(numbers["case"], numbers["value"], strict=True)), set()
    for first, second in product(product("+0-", repeat=2), ("++", "+-", "-+", "0-")):
        margins = [
            tuple({"+": ALWAYS, "0": at[arch], "-": NEVER}[sign] for sign in pair)
            for arch, pair in zip(ARCHS, (first, second), strict=False)
        ]
        table = evaluate(data, margins, over)
        assert set(table["verdict"]) == {verdict_by_loops(table, over)}, (first, second)
        seen |= set(table["verdict"])
    assert seen == {"supported", "refuted", "undecided", "not testable"}


def test_an_unmet_precondition_is_the_reason_and_the_other_cases_decide(data: ClaimData) -> None:
    alone = evaluate(data, [(NEVER, NEVER)], "any").iloc[0]
    assert (alone["verdict"], alone["case_verdict"], alone["n_refuted"]) == ("not testable", "not testable", 0)
    assert alone["why"].startswith("precondition not met: precondition of net-a is 0.3")
    assert alone["why"].endswith("not above 0.8")
    both = evaluate(data, [(NEVER, NEVER), (ALWAYS, NEVER)], "any")
    assert set(both["verdict"]) == {"refuted"}
    assert set(both["why"]) == {"precondition not met in 1 of 2 cases"}
    assert both.loc[both["decides"], ["case", "condition"]].to_numpy().tolist() == [["net-b", "number"]]


def test_an_open_precondition_leaves_the_claim_open_and_decides_it(data: ClaimData) -> None:
    table = evaluate(data, [(value(data, "net-a"), NEVER)], "any")
    assert set(table["verdict"]) == {"undecided"}
    assert table.loc[table["decides"], "condition"].tolist() == ["precondition"]


def test_levels_count_every_case_and_no_precondition(data: ClaimData) -> None:
    table = evaluate(data, [(ALWAYS, ALWAYS), (NEVER, ALWAYS)], "any")
    assert table["level_low"].tolist() == pytest.approx([1 - 0.05 / 2] * 4)
    assert table["level_high"].tolist() == pytest.approx([1 - 0.05] * 4)
