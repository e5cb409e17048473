"""One's own CSV file from the file to the report, what a change of it computes again, and the shipped studies of tables."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_report import Page
from workspace import ROOT, TINY, Workspace, plant

from gradfaith.cli import main
from gradfaith.cli.cost import forecast
from gradfaith.dag.tabular import TablePlan

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("tables")]  # the finished study is made once

GRADFAITH = "workflow/gradfaith"
STUDY = {
    "study": "mine",
    "title": "my own people",
    "table": {"source": "csv", "options": {"file": "people.csv", "target": "outcome", "group": "person"}},
    "models": {"linear": {}, "boosted_trees": {"options": {"trees": 5}}},
    "seeds": [0],
    "split": {"tolerance": 0.15},
    "explain": {"rows": 10, "background": 6},
    "methods": {"exact_shapley": {}, "kernel_shap": {}, "lime": {"options": {"samples": 60}}},
    "statistics": {"min_groups": 3},
    "figures": ["controls", "waterfall"],
}
AFTER = {"merge_scores": 1, "estimate": 1, "verdict": 1, "table": 5, "figure": 3, "provenance": 1}


def people(rows: int = 160) -> pd.DataFrame:
    """Return a table with every trap of one's own file, and an outcome that age and dose decide."""
    random = np.random.default_rng(3)
    age, dose = random.normal(50, 12, rows), random.random(rows)
    sick = (age / 12 + 3 * dose + random.normal(0, 0.5, rows) > 5.7).astype(int)
    frame = pd.DataFrame(
        {
            "person": [f"p{number // 2:03d}" for number in range(rows)],
            "record": range(7000, 7000 + rows),
            "age": age.round(2),
            "dose": [f"{value:.3f}" for value in dose],
            "site": random.choice(["a", "b", "c"], rows),
            "scanner": "one",
            "result": np.where(sick, "ill", "well"),
            "outcome": sick,
        }
    )
    frame.loc[[1, 2], "age"] = np.nan
    frame.loc[[5], "dose"] = "unknown"
    again = frame.iloc[20:24].assign(person="p999", record=range(9000, 9004))
    return pd.concat([frame, again], ignore_index=True)


def plant_table(folder: Path) -> Workspace:
    space = plant(folder)
    people().to_csv(folder / "people.csv", index=False)
    (folder / TINY).write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return space


@pytest.fixture(scope="module")
def finished_table(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The study, run to its end; look, but change nothing."""
    space = plant_table(tmp_path_factory.mktemp("tables"))
    space.snakemake()
    return space


@pytest.fixture
def spoilable_table(finished_table: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished study, times kept, to edit."""
    shutil.copytree(finished_table.folder, tmp_path / "copy", symlinks=True)
    return Workspace(tmp_path / "copy")


def test_ones_own_file_becomes_a_report_that_names_every_trap(finished_table: Workspace) -> None:
    tables = finished_table.results / "tables"
    columns = (tables / "columns.md").read_text()
    for column, found in (
        ("record | number | no", "identifier: differs in every row"),
        ("scanner | category (1) | no", "constant"),
        ("result | category (2) | no", "target copy"),
        ("age | number | yes", "2 missing values set to the median"),
        ("dose | number | yes", "mixed types: unknown counted as missing"),
    ):
        (line,) = [line for line in columns.splitlines() if line.startswith(f"| {column}")]
        assert found in line
    assert "8 rows have an equal row; 0 of them have it in another part of the split." in columns
    maps = (tables / "maps.md").read_text()
    assert "# Attributions, my own people" in maps
    assert " images" not in maps
    assert "LocAcc" not in maps
    finished_table.snakemake("--report", "report.html")
    (landing,) = [
        script
        for script in Page((finished_table.folder / "report.html").read_text()).scripts
        if script.strip().startswith("var workflow_desc = ")
    ]
    first = Page(json.loads(landing.strip().removeprefix("var workflow_desc = ").removesuffix(";"))).text
    assert "Can the attributions be believed?" in first
    assert "164 rows of 81 groups" in first
    assert "Columns that no model sees: record, scanner, result." in first


def test_the_verdict_is_printed_in_the_words_of_a_table(
    finished_table: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished_table.folder)
    monkeypatch.setattr("sys.argv", ["gradfaith", "verdict", TINY])
    main.main()
    said = capsys.readouterr().out
    assert "lime on linear: " in said
    assert "removal gap" in said
    assert not [word for word in (" maps", "image", "Faith", "patients") if word in said]


def test_the_numbers_follow_what_decides_the_outcome(finished_table: Workspace) -> None:
    attributions = pd.read_parquet(finished_table.results / "attributions/linear/seed-0.parquet")
    exact = attributions[attributions["method"] == "exact_shapley"]
    sizes = exact[["x:age", "x:dose", "x:site"]].abs().mean()
    assert sizes["x:site"] < min(sizes["x:age"], sizes["x:dose"]) / 2
    total = exact[["x:age", "x:dose", "x:site"]].sum(axis=1)
    assert total.to_numpy() == pytest.approx((exact["answer"] - exact["base"]).to_numpy(), abs=1e-6)
    assert json.loads((finished_table.results / "data/leakage.json").read_text())["caution"] == ""


def test_what_a_change_computes_again(spoilable_table: Workspace) -> None:
    """One copy, one change after the other: each adds the jobs of its line in docs/stale.md to those before."""
    space = spoilable_table
    (space.folder / "people.csv").touch()
    space.edit(f"{GRADFAITH}/attribution/tabular/lime.py", '"""LIME', '"""Another first line. LIME')
    assert space.planned() == {}, "a time stamp and a docstring"
    space.edit(TINY, "- waterfall", "- waterfall\n- force")
    space.edit(f"{GRADFAITH}/metrics/tabular/removal_gap.py", "import numpy as np", "import numpy as np\n\nEXTRA = 1")
    found = {"table_scores": 2, **AFTER, "figure": 2}
    assert space.planned() == found, "the file of a metric, and a new figure; no row is explained again"
    space.edit(f"{GRADFAITH}/attribution/tabular/lime.py", "import numpy as np", "import numpy as np\n\nEXTRA = 1")
    assert space.planned() == {"table_explain": 2, "table_scores": 2, **AFTER}, "the file of a method"
    space.edit(f"{GRADFAITH}/models/tabular/linear.py", "import numpy as np", "import numpy as np\n\nEXTRA = 1")
    assert space.planned() == {"table_train": 1, "table_explain": 2, "table_scores": 2, **AFTER}, "of a model"
    space.edit("people.csv", "p003,", "p004,")
    every = {"table_index": 1, "table_train": 2, "table_explain": 2, "table_scores": 2, **AFTER}
    assert space.planned() == {**every, "table": 6}, "the file's content, and so the table of columns"


def test_the_full_adult_study_is_planned_to_its_end_and_cost_counts_the_same_jobs(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is not there yet: rule `fetch` gets it."""
    monkeypatch.chdir(fresh.folder)
    path = "config/studies/adult.yaml"
    plan = TablePlan.read(yaml.safe_load((ROOT / path).read_text()), fresh.folder)
    lines, notes = forecast.forecast_study(plan, path, fresh.folder)
    counted = {line.rule: line.left for line in lines}
    assert notes == []
    assert counted == {line.rule: line.jobs for line in lines} == Workspace(fresh.folder, path).planned()
    own = {
        "fetch": 1,
        "table_index": 1,
        "table_train": 4 * 5,
        "table_explain": 4 * 5,
        "table_scores": 4,
        "merge_scores": 1,
    }
    assert own.items() <= counted.items()
    assert not any(line.on_gpu for line in lines), "no rule of a study of tables asks for a GPU"
