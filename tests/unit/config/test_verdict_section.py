"""`verdict:` in a study: which metric each gate reads, what this study cannot test, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from gradfaith.config.locate import read_document
from gradfaith.config.verdict import GATES
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid
from gradfaith.stats.gates import RELATIONS

ROOT = Path(__file__).parents[3]


def settings(document: dict[str, Any]) -> dict[str, Any]:
    return RuleParams(Plan.read(document, ROOT)).verdict()


def test_the_gates_of_the_configuration_are_those_that_are_run() -> None:
    assert tuple(RELATIONS) == GATES


def test_every_study_has_a_verdict_and_each_gate_reads_a_metric_or_says_why_not(tiny: dict[str, Any]) -> None:
    found = settings(tiny)
    assert found["methods"] == {"net-a": ["gradcam"], "net-b": ["gradcam"]}
    assert found["metrics"] == {
        "balanced_accuracy": "balanced_accuracy", "localization": "saliency_score", "faith_gain": "faith",
    }  # fmt: skip
    assert found["untested"] == {
        "randomisation": "the study has no key `randomisation`",
        "consistency": "2 seeds, and this gate needs 3",
        "shortcut_lift": "no known shortcut: the study does not measure shortcut_lift",
    }
    assert found["margins"]["balanced_accuracy"] == pytest.approx(2 / 3)
    assert "verdict" in RuleParams(Plan.read(tiny, ROOT)).code_digests()


def test_without_masks_localization_is_not_testable() -> None:
    found = settings(read_document(ROOT / "config/studies/paper-small.yaml"))
    assert found["untested"]["localization"] == "dataset iqothnccd has no masks"
    assert "consistency" not in found["untested"]


def test_more_seeds_a_shortcut_and_random_weights_make_every_gate_testable(tiny: dict[str, Any]) -> None:
    document = tiny | {
        "seeds": [0, 1, 2],
        "randomisation": {},
        "localization": ["locacc", "iou_area_matched", "shortcut_lift"],
    }
    document |= {"primary": tiny["primary"] | {"metric": "faith"}, "verdict": {"shortcut_lift": 1.5}}
    found = settings(document)
    assert found["untested"] == {}
    assert (found["metrics"]["localization"], found["metrics"]["consistency"]) == ("iou_area_matched", "consist")
    assert found["margins"]["shortcut_lift"] == 1.5


def test_a_study_may_have_no_verdict(tiny: dict[str, Any]) -> None:
    plan = Plan.read(tiny | {"verdict": False}, ROOT)
    assert "verdict" not in plan.tables
    assert plan.report_inputs("tables", "summary")["verdict"] == []
    assert "verdict" not in RuleParams(plan).code_digests()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            "locac",
            r'verdict.localization_metric: locac is not a localization metric of the study; did you mean "locacc"',
        ),
        (
            "shortcut_share",
            "verdict.localization_metric: shortcut_share does not measure how well a map shows the evidence",
        ),
    ],
)
def test_a_metric_that_cannot_be_a_gate_is_refused(tiny: dict[str, Any], named: str, said: str) -> None:
    document = tiny | {
        "localization": [*tiny["localization"], "shortcut_share"],
        "verdict": {"localization_metric": named},
    }
    with pytest.raises(StudyInvalid, match=said):
        Plan.read(document, ROOT)
