"""A person's own table: what is found in its columns is named, and nothing crashes; the census's planted truth is exact."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradfaith import rng
from gradfaith.config.tabular import TableUse
from gradfaith.data.split import split
from gradfaith.data.tabular import adult, census, csv
from gradfaith.data.tabular.columns import SourceTable, audit_table, encode_table, make_manifest, table_caution
from gradfaith.errors import DatasetInvalid, SplitImpossible
from gradfaith.vocabulary import BINARY

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def hostile(rows: int = 120, groups: int = 40) -> pd.DataFrame:
    random = np.random.default_rng(0)
    outcome = random.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "patient": [f"p{number % groups:03d}" for number in range(rows)],
            "id": range(1000, 1000 + rows),
            "age": random.normal(50, 10, rows).round(1),
            "dose": ["unknown" if number in {3, 7} else f"{random.random():.3f}" for number in range(rows)],
            "site": random.choice(["a", "b", "c"], rows),
            "comment": [f"text {number}" for number in range(rows)],
            "scanner": "one",
            "result": np.where(outcome, "ill", "well"),
            "outcome": outcome,
        }
    )


def read(frame: pd.DataFrame, folder: Path, **options: object) -> SourceTable:
    frame.to_csv(folder / "mine.csv", index=False)
    return csv.read(**({"file": str(folder / "mine.csv"), "target": "outcome", "group": "patient"} | options))  # type: ignore[arg-type]


def test_every_trap_of_a_table_is_named_and_none_reaches_a_model(tmp_path: Path) -> None:
    frame = hostile()
    frame.loc[[1, 2], "age"] = np.nan
    frame.loc[[4], "site"] = None
    table = encode_table(read(frame, tmp_path), "classification")
    found = {column.name: column for column in table.columns}
    assert found["scanner"].finding == "constant"
    assert found["id"].finding == "identifier: differs in every row"
    assert found["comment"].finding == "identifier: differs in every row"
    assert found["result"].finding.startswith("target copy")
    assert [column.name for column in table.features] == ["age", "dose", "site"]
    assert found["age"].finding == "2 missing values set to the median"
    assert found["dose"].finding == "mixed types: unknown counted as missing; 2 missing values set to the median"
    assert "missing" in found["site"].categories
    assert found["site"].kind == "category"
    assert np.isfinite(table.rows.filter(regex="^x:").to_numpy()).all()
    assert table.positive == "1"


def test_a_kept_copy_of_the_target_is_a_warning_everywhere(tmp_path: Path) -> None:
    table = encode_table(read(hostile(), tmp_path), "classification", keep=["result"])
    source = read(hostile(), tmp_path)
    manifest = make_manifest(table, source)
    parts = split(manifest, SHARES, classes=BINARY, tolerance=0.1, seed=0)
    audit = audit_table(table.content(), manifest, parts)
    assert table_caution(audit)["caution"].startswith("TARGET COPY KEPT (result)")
    assert table_caution(audit | {"changed": {}}) == {"leaky": False, "caution": ""}


def test_equal_rows_and_rows_of_a_group_stay_on_one_side(tmp_path: Path) -> None:
    frame = pd.concat([hostile(), hostile().head(10).assign(patient="q")], ignore_index=True).drop(
        columns=["id", "comment"]
    )
    source = read(frame, tmp_path)
    table = encode_table(source, "classification")
    manifest = make_manifest(table, source)
    parts = split(manifest, SHARES, classes=BINARY, tolerance=0.15, seed=0)
    audit = audit_table(table.content(), manifest, parts)
    assert audit["duplicates"] >= 20
    assert audit["duplicates_across_the_split"]["rows"] == audit["groups_across_the_split"] == 0
    swapped = parts.assign(part=["train"] * 120 + ["test"] * 10)
    assert audit_table(table.content(), manifest, swapped)["duplicates_across_the_split"]["rows"] > 0


def test_three_groups_need_a_larger_tolerance_and_the_error_says_so(tmp_path: Path) -> None:
    source = read(hostile(groups=3), tmp_path)
    manifest = make_manifest(encode_table(source, "classification"), source)
    with pytest.raises(SplitImpossible, match=r"with a tolerance of 0.1") as refusal:
        split(manifest, SHARES, classes=BINARY, tolerance=0.1, seed=0)
    assert "split.tolerance" in refusal.value.fix
    parts = split(manifest, SHARES, classes=BINARY, tolerance=0.4, seed=0)
    assert set(parts["part"]) == set(SHARES)


@pytest.mark.parametrize(
    ("options", "task", "positive", "said"),
    [
        ({"target": "outcomes"}, "classification", "", 'has no column "outcomes"'),
        ({"file": "nowhere.csv"}, "classification", "", "there is no file"),
        ({"target": "site"}, "classification", "", "the target has 3 values (a, b, c)"),
        ({"target": "scanner"}, "classification", "", "the target has one value only: one"),
        ({"target": "site"}, "regression", "", "values that are no numbers: a, b, c"),
        ({"target": "outcome"}, "classification", "2", 'table.positive is "2"'),
    ],
)
def test_a_wrong_name_is_an_error_with_what_there_is(
    tmp_path: Path, options: dict[str, str], task: str, positive: str, said: str
) -> None:
    with pytest.raises(DatasetInvalid) as refusal:
        encode_table(read(hostile(), tmp_path, **options), task, positive)  # type: ignore[arg-type]
    assert said in refusal.value.problem


def test_one_of_several_classes_is_explained_against_all_others(tmp_path: Path) -> None:
    table = encode_table(read(hostile(), tmp_path, target="site"), "classification", "b")
    assert table.rows["target"].sum() == (hostile()["site"] == "b").sum()
    assert set(table.label) == set(BINARY)


def test_the_planted_truth_is_the_shapley_value_of_the_planted_function() -> None:
    """By the definition: enumerate the coalitions of the two interacting features against independent features."""
    source = census.read(people=60, waves=1, noise=0.0, regression=True)
    assert source.truth is not None
    total = source.truth.sum(axis=1).to_numpy()
    answer = source.target.to_numpy(np.float64)
    sign = np.where(source.features["sex"] == "male", 1.0, -1.0)
    experience = census_experience()
    # the product's own expectation differs from the product of the means, which the independent game takes
    gap = census.INTERACTION * ((sign * experience).mean() - sign.mean() * experience.mean())
    assert total == pytest.approx(answer - answer.mean() + gap, abs=1e-9)
    term = census.INTERACTION * np.array([[s * e for e in experience] for s in sign])
    v = {(0, 0): term.mean(), (1, 1): np.diag(term)}
    for place in range(5):
        v |= {(1, 0): term[place].mean(), (0, 1): term[:, place].mean()}
        of_sex = 0.5 * ((v[1, 0] - v[0, 0]) + (v[1, 1][place] - v[0, 1]))
        assert source.truth["sex"].iloc[place] == pytest.approx(of_sex, abs=1e-9)
    for name in ("salary_grade", "commute", "region"):
        assert (source.truth[name] == 0).all()


def census_experience() -> np.ndarray:
    """Return the experience before it is rounded, from the census's own stream."""
    random = rng.generator(0, "census")
    trait = random.normal(size=(60, 5))
    unit = 0.9 * trait + np.sqrt(1 - 0.9**2) * random.normal(size=(60, 5))
    return unit[:, 3]


def test_the_twin_is_correlated_as_asked() -> None:
    for wanted, seed in product((0.0, 0.9), (0, 1)):
        features = census.read(people=800, waves=1, correlation=wanted, seed=seed).features
        found = np.corrcoef(features["education"], features["salary_grade"])[0, 1]
        assert found == pytest.approx(wanted, abs=0.1)


def test_adult_counts_its_rows_before_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetInvalid, match=r"there is no adult.data"):
        adult.read()
    raw = tmp_path / "resources/adult/raw"
    raw.mkdir(parents=True)
    line = "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, United-States, <=50K"
    other = line.replace("39,", "52,").replace("<=50K", ">50K").replace("State-gov", "?")
    (raw / "adult.data").write_text("\n".join([line, other, ""]))
    (raw / "adult.test").write_text("|1x3 Cross validator\n" + line + ".\n" + other + ".\n")
    with pytest.raises(DatasetInvalid, match=r"adult.data has 2 rows instead of 32561"):
        adult.read()
    monkeypatch.setattr(adult, "ROWS", {"adult.data": 2, "adult.test": 2})
    table = adult.read()
    assert list(table.target) == ["<=50K", ">50K"] * 2
    assert table.features["workclass"].isna().sum() == 2
    assert {"fnlwgt", "education", "income"}.isdisjoint(table.features)
    assert len(table.files) == 2


def test_the_options_of_a_table_are_checked_with_the_study() -> None:
    with pytest.raises(ValueError, match="census needs people >= 20"):
        TableUse(options={"people": 3})
    with pytest.raises(ValueError, match="no source of tables called"):
        TableUse(source="cencus")
