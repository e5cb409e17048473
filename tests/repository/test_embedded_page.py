"""The page of the embedded study says what the rows of its run say; docs/embedded_rows.py writes these rows."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("embedded_rows", DOCS / "embedded_rows.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rows(script: ModuleType) -> pd.DataFrame:
    if not script.ROWS.exists():
        pytest.skip("docs/embedded.tsv is written from a run: python docs/embedded_rows.py results/phantom")
    return pd.read_csv(script.ROWS, sep="\t", dtype=dict.fromkeys(script.NAMES, "str"), keep_default_na=False, na_values={
        name: [""] for name in script.NUMBERS
    })  # fmt: skip


def test_every_number_of_the_page_is_that_of_a_row(script: ModuleType, rows: pd.DataFrame) -> None:
    numbers = script.quoted_numbers(script.PAGE.read_text(), set(rows["arch"]) - {""})
    assert len(numbers) > 20
    assert [one for one in numbers if script.rows_that_round_to(rows[rows["follows"] == one.text], one).empty] == []


def test_every_sentence_follows_from_its_rows(script: ModuleType, rows: pd.DataFrame) -> None:
    page = script.one_line(script.PAGE.read_text())
    for sentence in yaml.safe_load(script.SENTENCES.read_text()):
        found = script.rows_of_sentence(rows[rows["follows"] == sentence["says"]], sentence)
        assert script.one_line(sentence["says"]) in page
        assert len(found), sentence["says"]
        assert found.eval(sentence["holds"]).all(), found


CLASSIFICATION = {
    "arch": "net",
    "metric": "balanced_accuracy",
    "class": "macro",
    "interval": "over groups",
    "reason": "",
}
ESTIMATE = {
    "arch": "net",
    "arch2": "",
    "by": "",
    "method": "gradcam",
    "metric": "locacc",
    "variant": "",
    "interval": "",
}
CONTRAST = {
    "arch": "net", "method": "gradcam", "metric": "locacc", "variant": "", "comparison": "control", "against": "lungs",
    "label": "",
}  # fmt: skip
PAGE = """
| network | LocAcc |
|---|---|
| net | 0.80 [0.70, 0.88] |

| gate | net |
|---|---|
| accuracy | 0.88 [0.82, 0.92] |

It exceeds
the lungs by +0.064 [0.031, 0.097].
"""
SENTENCE = {"says": "It exceeds the lungs", "rows": {"kind": "contrast", "interval": "family"}, "holds": "low > 0"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Write the tables of a study with one number each."""
    tables = {
        "classification": {**CLASSIFICATION, "value": 0.8801, "low": 0.82, "high": 0.9204},
        "estimates": {**ESTIMATE, "value": 0.8, "low": 0.7004, "high": 0.88},
        "contrasts": {
            **CONTRAST, "value": 0.064, "low": 0.04, "high": 0.09, "low_family": 0.031, "high_family": 0.0971,
        },
    }  # fmt: skip
    for name, row in tables.items():
        pd.DataFrame([row]).to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "verdict.json").write_text(json.dumps({"methods": []}))
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", ""),
        ("0.80 [0.70, 0.88]", "0.81 [0.70, 0.88]", "no row for net 0.81 [0.70, 0.88]"),
        ("[0.82, 0.92]", "[0.82, 0.93]", "no row for net 0.88 [0.82, 0.93]"),
        ("+0.064 [0.031", "+0.064 [0.041", "no row for  +0.064 [0.041, 0.097]"),
        ("exceeds", "is like", "not in the page: It exceeds the lungs"),
        ("| net | 0.80", "| other | 0.80", ""),  # the study has no network of this name, so any may have the number
    ],
)
def test_the_script_finds_what_the_study_does_not_say(
    script: ModuleType, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    old: str, new: str, problem: str,
) -> None:  # fmt: skip
    for name, text in {
        "PAGE": PAGE.replace(old, new) if old else PAGE,
        "SENTENCES": yaml.safe_dump([SENTENCE]),
    }.items():
        (study / name).write_text(text)
        monkeypatch.setattr(script, name, study / name)
    monkeypatch.setattr(script, "ROWS", study / "rows.tsv")
    assert script.main(study) == bool(problem)
    assert problem in capsys.readouterr().out
    assert "It exceeds the lungs" in set(pd.read_csv(study / "rows.tsv", sep="\t")["follows"])


def test_a_condition_that_the_rows_do_not_meet_is_found(
    script: ModuleType, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"PAGE": PAGE, "SENTENCES": yaml.safe_dump([SENTENCE | {"holds": "low > 0.035"}])}.items():
        (study / name).write_text(text)
        monkeypatch.setattr(script, name, study / name)
    monkeypatch.setattr(script, "ROWS", study / "rows.tsv")
    assert script.main(study) == 1
    assert "the rows do not say: It exceeds the lungs" in capsys.readouterr().out
