"""The work of a job of a study of tables grows with rows, methods and models, and the rows are known before the table is read."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gradfaith.dag.job_work import RULES_OF_TABLES, rule_family
from gradfaith.dag.table_work import TableWork, count_rows
from gradfaith.dag.tabular import TablePlan
from gradfaith.storage import parquet

STUDY = {"study": "mine", "table": {"options": {"people": 50, "waves": 3}}, "models": ["linear", "feed_forward"]}


def plan(**keys: Any) -> TablePlan:
    return TablePlan.read({**STUDY, **keys}, Path())


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rows_are_counted_from_the_split_the_options_the_file_or_the_release(place: Path) -> None:
    assert count_rows(plan()) == 50 * 3
    (place / "people.csv").write_text("a,b\n1,2\n3,4\n\n5,6\n")
    assert count_rows(plan(table={"source": "csv", "options": {"file": "people.csv", "target": "b"}})) == 3
    assert count_rows(plan(table={"source": "csv", "options": {"file": "none.csv", "target": "b"}})) is None
    assert count_rows(plan(table={"source": "adult"})) == 32_561 + 16_281
    assert count_rows(plan(table={"source": "adult", "options": {"rows": 500}})) == 500
    parts = pd.DataFrame({"image_id": ["a", "b", "c", "d"], "part": ["train", "train", "val", "test"]})
    parquet.write(plan().paths.splits, parts, parquet.SPLITS)
    assert count_rows(plan()) == 4


@pytest.mark.parametrize(
    ("rule", "keys", "factor"),
    [
        ("table_index", {}, 2),
        ("table_train", {}, 2),
        ("table_explain", {"explain": {"rows": 10}}, 1),  # of both tables ten rows are explained
        ("table_explain", {}, 48 / 30),  # all 30 test rows, or the default
        ("table_scores", {"imputers": ["mean"]}, 48 / 30),
        ("figure_force", {}, 1),
    ],
)
def test_twice_the_rows_are_so_many_times_the_work(rule: str, keys: dict[str, Any], factor: float) -> None:
    one, two = (TableWork(plan(**keys), rows).of(rule, {"arch": "linear"}).units for rows in (150, 300))
    assert two / one == pytest.approx(factor)


def test_work_is_proportional_to_methods_background_and_imputers() -> None:
    usual = TableWork(plan(), 1000)
    assert usual.of("table_explain", {"arch": "linear"}).units == 48 * 24 * 5 * 2
    fewer = plan(explain={"background": 12}, methods=["kernel_shap"], imputers=["mean"])
    assert TableWork(fewer, 1000).of("table_explain", {"arch": "linear"}).units == 48 * 12 * 1 * 2
    assert usual.of("table_scores", {}).units / TableWork(fewer, 1000).of("table_scores", {}).units == 5 * 3
    assert usual.of("table_train", {"arch": "linear"}).kind != usual.of("table_train", {"arch": "feed_forward"}).kind


def test_the_rules_of_a_study_of_tables_are_no_tables_of_results() -> None:
    assert [rule_family(rule) for rule in RULES_OF_TABLES] == list(RULES_OF_TABLES)
    assert rule_family("table_ranks") == "table"
