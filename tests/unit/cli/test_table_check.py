"""`gradfaith check` on one's own table: every trap is named before anything runs, and none is a traceback."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from gradfaith.cli.study_check import StudyFindings, check_study


def people(rows: int = 120, groups: int = 40) -> pd.DataFrame:
    """Return a table with every trap: missing values, mixed types, a constant, a copy of the target, an identifier, equal rows."""
    random = np.random.default_rng(1)
    sick = random.integers(0, 2, rows)
    frame = pd.DataFrame(
        {
            "person": [f"p{number % groups:02d}" for number in range(rows)],
            "id": range(5000, 5000 + rows),
            "age": random.normal(50, 10, rows).round(1) + 5 * sick,
            "dose": [f"{value:.4f}" for value in random.random(rows)],
            "site": random.choice(["a", "b", "c"], rows),
            "scanner": "one",
            "result": np.where(sick, "ill", "well"),
            "outcome": sick,
        }
    )
    frame.loc[[1, 2], "age"] = np.nan
    frame.loc[[3, 7], "dose"] = "unknown"
    return frame


def check(folder: Path, frame: pd.DataFrame, **keys: object) -> StudyFindings:
    frame.to_csv(folder / "people.csv", index=False)
    table = {"source": "csv", "options": {"file": str(folder / "people.csv"), "target": "outcome", "group": "person"}}
    study = {"study": "mine", "table": table, "models": ["linear", "feed_forward"], **keys}
    (folder / "mine.yaml").write_text(yaml.safe_dump(study))
    return check_study(str(folder / "mine.yaml"), folder, fast=False)


def test_every_column_is_named_with_what_was_found(tmp_path: Path) -> None:
    found = check(tmp_path, people())
    rows = dict(found.rows)
    assert found.problems == []
    assert rows["column id"] == "number, left out: identifier: differs in every row"
    assert rows["column scanner"] == "category of one value, left out: constant"
    assert rows["column result"].startswith("category of 2 values, left out: target copy")
    assert rows["column age"] == "number: 2 missing values set to the median"
    assert rows["column dose"] == "number: mixed types: unknown counted as missing; 2 missing values set to the median"
    assert rows["column site"] == "category of 3 values"
    assert rows["table"] == "120 rows, 3 of 6 columns are features"
    assert rows["groups"] == "40 groups, from a column"
    assert rows["target"] == 'the positive class is "1"'
    assert rows["method deep_shap"] == "on feed_forward: it reads the inside of network"


def test_equal_rows_of_different_people_are_counted_and_stay_in_one_part(tmp_path: Path) -> None:
    frame = people()
    found = check(tmp_path, pd.concat([frame, frame.head(6).assign(person="q")], ignore_index=True).drop(columns="id"))
    assert dict(found.rows)["equal rows"] == "12 rows have an equal row; 0 of them in another part of the split"


def test_three_groups_are_a_problem_with_its_fix_and_with_it_a_warning(tmp_path: Path) -> None:
    found = check(tmp_path, people(groups=3))
    (problem,) = found.problems
    assert type(problem).__name__ == "SplitImpossible"
    assert "split.tolerance" in problem.fix
    assert dict(found.rows)["groups"] == "3 groups, from a column; fewer than 8, so there are no intervals"
    assert check(tmp_path, people(groups=3), split={"tolerance": 0.4}).problems == []


def test_a_kept_copy_of_the_target_is_a_warning(tmp_path: Path) -> None:
    table = {"source": "csv", "options": {"file": str(tmp_path / "people.csv"), "target": "outcome", "group": "person"}}
    found = check(tmp_path, people(), table={**table, "keep": ["result"]})
    assert dict(found.rows)["warning"].startswith("TARGET COPY KEPT (result)")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"explain": {"boundary": ["age", "site"]}}, "explain.boundary: site is no numeric feature of the table; it has age, dose."),
        ({"models": ["lienar"]}, "lienar"),
        ({"table": {"source": "csv", "options": {"file": "nowhere.csv", "target": "outcome"}}}, 'there is no file "nowhere.csv"'),
        ({"table": {"source": "csv", "options": {"file": "people.csv", "target": "outcoem"}}}, "there is no file"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_a_problem_and_not_a_traceback(tmp_path: Path, keys: dict[str, object], problem: str) -> None:
    found = check(tmp_path, people(), **keys)
    assert problem in str(found.problems[0])


def test_more_features_than_enumeration_takes_are_named(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    wide = people().assign(**{f"extra{number}": random.normal(size=120).round(3) for number in range(10)})
    rows = dict(check(tmp_path, wide).rows)
    assert rows["method exact_shapley"] == "skipped: it takes at most 12 features, the table has 13"


def test_the_shipped_studies_are_described(root: Path) -> None:
    for name, rows in (("tabular", "1200 rows, 9 of 9"), ("adult", "not there yet; rule fetch gets it from")):
        found = check_study(str(root / f"config/studies/{name}.yaml"), root, fast=False)
        assert found.problems == []
        assert rows in dict(found.rows)["table"]
        assert json.dumps(found.rows)
