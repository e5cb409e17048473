"""Verdicts on networks whose evidence is known are right, and the parts of a verdict agree with its gates."""

import json
from dataclasses import asdict, replace

import pytest
from planted_study import KINDS, is_right, verdict_of

from gradfaith.stats import verdict as verdicts
from gradfaith.stats.gates import FAIL, PASS, RELATIONS, Gate, GateStatus
from gradfaith.stats.verdict import CRITERIA, MethodVerdict, StudyVerdict
from gradfaith.vocabulary import NOT_TESTABLE, UNDECIDED

REPETITIONS, RIGHT = 20, 19  # docs/verdict.md states the shares


@pytest.fixture(scope="module")
def planted() -> dict[str, MethodVerdict]:
    """One draw with one seed per kind of network: seconds."""
    return {kind: verdict_of(kind, 0, seeds=(0,), patients=10) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_on_known_evidence_is_right(planted: dict[str, MethodVerdict], kind: str) -> None:
    verdict = planted[kind]
    assert is_right(verdict)[kind], [(gate.name, gate.status, gate.decisive) for gate in verdict.gates]
    assert verdict.gate("balanced_accuracy").status == (FAIL if kind == "random" else PASS)
    assert (
        verdict.holds_for
        == "Intervals hold for new patients (or other groups of images) of this population and this trained model only."
    )


def test_the_marker_s_sentence_warns_of_the_shortcut(planted: dict[str, MethodVerdict]) -> None:
    assert "they mark the known shortcut" in planted["marker"].statement
    assert planted["marker"].not_to_conclude.startswith(
        "Do not conclude that what these maps mark is a sign of disease"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_are_right_in_nearly_all_of_twenty_draws(kind: str) -> None:
    verdicts_found = [verdict_of(kind, repetition) for repetition in range(REPETITIONS)]
    right = [is_right(verdict)[kind] for verdict in verdicts_found]
    assert sum(right) >= RIGHT, (kind, right)
    passed = sum(verdict.verdict == "pass" for verdict in verdicts_found)
    assert {"sharp": passed >= RIGHT, "lesion": True}.get(kind, not passed), (kind, passed)


def gate(name: str, status: GateStatus) -> Gate:
    return Gate(name, status, RELATIONS[name], 0.0, "metric", "", "", ())


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((), "pass"), ((UNDECIDED,), "undecided"), ((UNDECIDED, NOT_TESTABLE), "incomplete"),
        ((UNDECIDED, NOT_TESTABLE, FAIL), "fail"),
    ],
)  # fmt: skip
def test_gates_combine_and_each_verdict_has_its_sentences(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[GateStatus, ...], verdict: str
) -> None:
    every = (*statuses, *[PASS] * len(RELATIONS))
    found = tuple(gate(name, status) for name, status in zip(RELATIONS, every, strict=False))
    monkeypatch.setattr(verdicts, "run_gates", lambda *_: found)
    judged = verdicts.judge_method(None, "net", "cam", None)  # type: ignore[arg-type]
    assert judged.verdict == verdict
    assert judged.statement.startswith(
        "The maps of cam on net" if verdict == "pass" else "Do not rely on the maps of cam on net"
    )
    assert judged.not_to_conclude.startswith("Do not conclude")
    assert judged.statement.count(".") == judged.not_to_conclude.count(".") == 1, "one sentence each"
    assert [criterion.name for criterion in judged.scorecard][1:] == [
        "consistency",
        "plausibility",
        "fidelity",
        "usefulness",
    ]
    assert judged.scorecard[-1].status == "not measured"
    assert sorted(name for own in CRITERIA.values() for name in own) == sorted(RELATIONS)


def test_a_verdict_is_the_same_after_json(planted: dict[str, MethodVerdict]) -> None:
    study = StudyVerdict(0.95, tuple(planted.values()))
    assert StudyVerdict.of_content(json.loads(json.dumps(asdict(study)))) == study
    other = replace(study, level=0.9)
    assert StudyVerdict.of_content(asdict(other)) != study
