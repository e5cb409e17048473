"""The studies that are shipped: on data that is computed, what they say of it passes the leakage check; all can be planned."""

import pytest
import yaml
from workspace import ROOT, Workspace

from gradfaith.cli.cost import forecast
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan

STUDIES = sorted((ROOT / "config/studies").glob("*.yaml"))
# studies of tables: tests/workflow/test_table_study.py
TABLES = [study.name for study in STUDIES if "table" in yaml.safe_load(study.read_text())]
ALL = [study.name for study in STUDIES if study.name not in TABLES]
COSTED = {"paper.yaml", "photographs.yaml", "ranking.yaml"}  # the others in the slow tests: three dry runs each
COMPUTED = sorted(
    study.name
    for study in (ROOT / "config/studies").glob("*.yaml")
    if (yaml.safe_load(study.read_text()).get("dataset") or {}).get("name") == "phantom"
)


def test_some_are_shipped() -> None:
    assert {"shortcut.yaml", "families.yaml"} <= set(COMPUTED)


def leaves(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Return every value of a document by its path of keys."""
    if not isinstance(value, dict):
        return {path: value}
    return {key: one for name, below in value.items() for key, one in leaves(below, (*path, str(name))).items()}


@pytest.mark.parametrize(
    ("arm", "of", "factor"),
    [
        ("paper-scratch", "paper", {("training", "weights")}),
        (
            "paper-augmented",
            "paper",
            {("training", key) for key in ("class_weights", "flip", "shift", "rotate", "contrast")},
        ),
    ],
)
def test_an_arm_differs_in_its_factor_only(arm: str, of: str, factor: set[tuple[str, ...]]) -> None:
    one, other = (leaves(yaml.safe_load((ROOT / f"config/studies/{name}.yaml").read_text())) for name in (arm, of))
    differing = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    assert differing == factor | {("study",), ("title",)}


@pytest.mark.slow  # draws 720 slices twice
@pytest.mark.parametrize("study", COMPUTED)
def test_its_data_passes_its_leakage_check(study: str, fresh: Workspace) -> None:
    document = yaml.safe_load((ROOT / "config/studies" / study).read_text())
    (fresh.folder / "tiny.yaml").write_text(yaml.safe_dump(document))
    report = f"results/{document['study']}/data/leakage.json"
    fresh.snakemake(report, "--cores", "2")
    assert (fresh.folder / report).exists()


@pytest.mark.parametrize("study", ALL)
def test_it_is_planned_to_its_end(study: str, fresh: Workspace) -> None:
    """docs/cluster.md says how many jobs the paper's are."""
    path = f"config/studies/{study}"
    planned = Workspace(fresh.folder, path).planned()
    assert {"train", "predict", "explain", "estimate"} <= set(planned)
    if study == "paper.yaml":
        assert f"`{path}` has {sum(planned.values())} jobs" in (ROOT / "docs/cluster.md").read_text()


@pytest.mark.parametrize(
    "study", [pytest.param(study, marks=() if study in COSTED else pytest.mark.slow) for study in ALL]
)
def test_cost_counts_the_jobs_that_are_planned(study: str, fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched, what is a base's, and no cell without a method."""
    monkeypatch.chdir(fresh.folder)
    path = f"config/studies/{study}"
    plan = Plan.read(yaml.safe_load((fresh.folder / path).read_text()), fresh.folder)
    by_hand = 1000 if job_work.count_images(plan) is None else None  # images that are not known before they are there
    lines, notes = forecast.forecast_study(plan, path, fresh.folder, by_hand)
    counted = {line.rule: line.left for line in lines}
    assert notes == []
    assert counted == {line.rule: line.jobs for line in lines} == Workspace(fresh.folder, path).planned()
    assert {"train", "predict", "explain"} <= {line.rule for line in lines if line.on_gpu}
