"""`gradfaith sample-size` prints a plan, from declared components or from a finished study."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from claim_scores import ARCHS, BETTER, BOUNDS, CLASSES, CONTROLS, answers, scores

from gradfaith.cli import main, planned_numbers
from gradfaith.cli.planned_numbers import GatePlan, StudyValues, components_of_values, difference, mean_over_runs
from gradfaith.config.locate import read_document
from gradfaith.dag.plan import Plan
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.estimates import SCORE_COLUMNS
from gradfaith.stats.image_scores import CONTEXT_KEYS
from gradfaith.stats.interval_scales import Bounds
from gradfaith.storage import parquet
from gradfaith.storage.table_parts import TableParts

ROOT = Path(__file__).parents[3]
PLAN = ["--patients", "24", "48", "--seeds", "1", "3", "--sd", "0.0252", "0.0073", "0.0055"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").touch()
    (tmp_path / "config").mkdir()
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["gradfaith", "sample-size", *arguments])
    main.main()


def test_a_declared_plan_names_every_design(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, *PLAN, "--family", "216", "--difference", "0.012")
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.strip()[:2] in ("24", "48")]
    assert rows == [
        ["24", "1", "0.015", "0.028"],
        ["24", "3", "0.021", "0.044"],
        ["48", "1", "0.011", "0.018"],
        ["48", "3", "0.019", "0.053"],
    ]
    assert (
        "Recommended: 48 patients and 1 seed, the smallest of these designs that suffices. It shows nothing about new"
        in out
    )
    call(monkeypatch, *PLAN, "--difference", "0.001")
    assert (
        "none of these designs suffices; with 48 patients and 3 seeds it still lacks the difference 0.001"
        in capsys.readouterr().out
    )


def test_the_plan_as_json(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, *PLAN, "--difference", "0.03", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["components"] == {"groups": 0.0252, "seeds": 0.0073, "residual": 0.0055}
    assert [(one["patients"], one["seeds"]) for one in found["designs"]] == [(24, 1), (24, 3), (48, 1), (48, 3)]
    assert found["recommended"] == {"patients": 24, "seeds": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--patients", "24", "--seeds", "1"], "one of --from and --sd is needed"),
        (["--patients", "24", "--seeds", "1", "--sd", "1", "-1", "1"], "negative standard deviation"),
        (["--patients", "1", "--seeds", "1", "--sd", "1", "1", "1"], "one patient has no spread"),
        (["--patients", "24", "--seeds", "1", "--sd", "1", "1", "1", "--level", "2"], "--level is 2"),
        (["--patients", "24", "--seeds", "1", "--from", "no-such-study"], 'there is no study "no-such-study"'),
    ],
)
def test_an_impossible_plan_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, *arguments)
    assert words in str(ended.value) + capsys.readouterr().err


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> StudyValues:
    predictions, path = answers(), tmp_path_factory.mktemp("plan") / "scores.parquet"
    parquet.write(path, scores(predictions), parquet.SCORES)
    parts = TableParts.of(path, parquet.SCORES, SCORE_COLUMNS, by=CONTEXT_KEYS, where={"part": "test"})
    return StudyValues(parts, predictions, "gradcam", list(CONTROLS))


def test_the_values_of_a_contrast_have_its_mean_and_components(values: StudyValues) -> None:
    side = values.side("saliency_score")
    found = difference(side, "net-a", ("gradcam", "random-grid"), "")
    rows = values.scores.select(values.scores.keys["metric"] == "saliency_score").joined().query("arch == 'net-a'")
    wide = rows.pivot_table(index=["seed", "image_id"], columns="method", values="value", observed=True)
    gain = (wide["gradcam"] - wide["random-grid"]).dropna()
    assert mean_over_runs(found) == pytest.approx(gain.groupby("seed").mean().mean())
    components = components_of_values(found)
    assert components.residual == pytest.approx(0.17 / np.sqrt(2), rel=0.25), (
        "two images in a group, two independent scores"
    )


def test_the_accuracy_of_the_plan_is_the_balanced_accuracy(values: StudyValues) -> None:
    table = estimate_classification(values.predictions, CLASSES)
    (row,) = table.query("arch == 'net-b' and metric == 'balanced_accuracy'").to_dict("records")
    found = values.accuracy("net-b").assign(seed2=pd.NA)
    assert mean_over_runs(found) == pytest.approx(row["value"])
    one_seed = found[found["seed"] == 0]
    of_seed = estimate_classification(values.predictions.query("seed == 0"), CLASSES).query(
        "arch == 'net-b' and metric == 'balanced_accuracy'"
    )
    groups = one_seed["group"].nunique()
    assert components_of_values(one_seed).groups / np.sqrt(groups) == pytest.approx(of_seed["se"].item(), rel=0.1)


def test_gates_have_a_number_per_control_imputer_and_class(values: StudyValues) -> None:
    metrics = {"localization": "saliency_score", "faith_gain": "faith", "consistency": "consist"}
    margins = {"balanced_accuracy": 0.67, "localization": 0.0, "faith_gain": 0.05, "consistency": 0.0}
    plan = GatePlan(metrics, margins, "", BETTER, BOUNDS)
    numbers = planned_numbers.planned_numbers(values, plan, list(ARCHS))
    parts = {number.gate: [other.part for other in numbers if other.gate == number.gate] for number in numbers}
    assert parts["balanced_accuracy"] == list(ARCHS)
    assert parts["localization"][:3] == [f"{arch}, random-grid" for arch in ARCHS]
    assert len(parts["localization"]) == 3 * 3
    assert parts["faith_gain"] == [f"{arch}, {variant}" for variant in ("black", "blur") for arch in ARCHS]
    assert set(parts["consistency"]) == {f"{arch}, {label}" for arch in ARCHS for label in CLASSES}
    assert {number.seeds_per_run for number in numbers if number.gate == "consistency"} == {2}
    seeds = {number.components.seeds for number in numbers if number.part.endswith("random-grid")}
    assert len(seeds) == 1, "the variance between seeds is that of all architectures"
    gain = next(number for number in numbers if number.part == "net-a, random-grid")
    assert gain.value == pytest.approx(0.35, abs=0.03)
    assert {number.fails for number in numbers if number.gate == "localization"} == {False}


def test_the_gates_of_a_plan_are_those_of_the_verdict() -> None:
    document = read_document(ROOT / "tests/workflow/tiny.yaml")
    plan = GatePlan.of_study(Plan.read({**document, "verdict": {"faith_gain": 0.1}}, ROOT))
    assert (plan.margins["faith_gain"], plan.metrics["localization"]) == (0.1, "saliency_score")
    assert "consistency" not in plan.metrics, "two seeds"
    assert plan.better["saliency_score"] == "higher"
    assert plan.bounds["saliency_score"] == Bounds(0, 1)


def test_a_gate_leaves_out_controls_that_no_map_can_exceed_and_turns_a_metric_where_less_is_better(
    values: StudyValues,
) -> None:
    margins = {"balanced_accuracy": 0.67, "localization": 0.0}
    table = scores(values.predictions).query("metric == 'saliency_score'")
    best = table["value"].where(table["method"] != "half", 1.0).where(table["value"].notna())
    path = values.scores.path.with_name("best.parquet")
    parquet.write(path, table.assign(value=best), parquet.SCORES)
    parts = TableParts.of(path, parquet.SCORES, SCORE_COLUMNS, by=CONTEXT_KEYS, where={"part": "test"})
    own = StudyValues(parts, values.predictions, "gradcam", list(CONTROLS))
    for better, sign in (("higher", 1), ("lower", -1)):
        plan = GatePlan(
            {"localization": "saliency_score"},
            margins,
            "",
            {"saliency_score": better},
            {"saliency_score": Bounds(0, 1)},
        )
        numbers = planned_numbers.planned_numbers(own, plan, ["net-a"])
        located = {number.part: number for number in numbers if number.gate == "localization"}
        assert ("net-a, half" in located) == (better == "lower")
        assert located["net-a, random-grid"].value == pytest.approx(sign * 0.35, abs=0.03)
        assert located["net-a, random-grid"].fails == (sign < 0)
