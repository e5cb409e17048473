"""The table of verdicts has every gate of every method, in the order of the scorecard, and its CSV every part."""

import pandas as pd
import pytest
from small_study import ABOUT, ARCHS, SmallStudy
from typed import described

from gradfaith.reporting.tables import contract, verdict
from gradfaith.stats.gates import PASS, Gate, GatePart, GateStatus
from gradfaith.stats.verdict import CRITERIA, TITLES, StudyVerdict
from gradfaith.storage import json_file
from gradfaith.vocabulary import UNDECIDED


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return json_file.read(str(SmallStudy(tmp_path_factory.mktemp("verdict")).inputs["verdict"]))


def test_every_gate_has_a_line_in_the_order_of_the_scorecard(content: dict[str, object]) -> None:
    sheet = verdict.tabulate({"verdict": pd.DataFrame([content])}, described(ABOUT))
    study = StudyVerdict.of_content(content)
    assert [block.caption for block in sheet.blocks] == [
        f"gradcam on {arch}: {one.verdict}" for arch, one in zip(ARCHS, study.methods, strict=True)
    ]
    gates = [TITLES[name] for own in CRITERIA.values() for name in own]
    for block, one in zip(sheet.blocks, study.methods, strict=True):
        assert [line[1].text for line in block.rows] == [*gates, "-"]
        assert block.rows[-1][2].text == "not measured"
        assert block.sentences[0] == one.statement
    parts = sum(max(len(gate.parts), 1) for one in study.methods for gate in one.gates)
    assert len(sheet.data) == parts
    assert set(sheet.data["gate"]) == set(TITLES)
    assert "no known shortcut" in contract.markdown(sheet)


def gate(status: GateStatus, **part: object) -> Gate:
    numbers = {
        "value": 0.1,
        "low": -0.1,
        "high": 0.3,
        "n_images": 40,
        "n_groups": 20,
        "n_seeds": 5,
        "reason": "",
        "interval": "over groups",
    } | part
    own = GatePart("centre", status, **numbers)  # type: ignore[arg-type]
    return Gate("localization", status, ">", 0.0, "locacc", "centre", own.reason, (own,))


@pytest.mark.parametrize(
    ("found", "number", "words"),
    [
        (gate(PASS, low=0.05), "0.100 [0.050, 0.300]", ""),
        (gate(UNDECIDED, groups_needed=80), "0.100 [-0.100, 0.300]", "needs roughly 80 groups (now 20)"),
        (gate(UNDECIDED, groups_needed=80, seeds_needed=20), "0.100 [-0.100, 0.300]", "needs roughly 80 groups (now 20) and 20 seeds (now 5)"),
        (gate(UNDECIDED, groups_needed=9000), "0.100 [-0.100, 0.300]", "needs more than 100 times the groups"),
        (gate(UNDECIDED), "0.100 [-0.100, 0.300]", "the number is at the margin: no size of study decides it"),
        (gate(UNDECIDED, low=None, high=None, reason="4 groups, an interval needs 8", groups_needed=8), "0.100",
         "4 groups, an interval needs 8; needs roughly 8 groups (now 20)"),
    ],
)  # fmt: skip
def test_a_gate_says_its_number_and_what_would_decide_it(found: Gate, number: str, words: str) -> None:
    assert verdict.number_text(found) == number
    assert verdict.margin_text(found) == "low > 0"
    assert verdict.open_text(found) == words


def test_a_share_has_no_interval() -> None:
    own = GatePart("", PASS, 0.02, 0.02, 0.02, 100, 20, 5, "", "")
    share = Gate("missing_maps", PASS, "<=", 0.05, "", "", "", (own,))
    assert (verdict.number_text(share), verdict.margin_text(share)) == ("2.0 % of 100 scores", "at most 5 %")
