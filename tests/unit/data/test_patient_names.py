"""Patients in file names: the pattern is checked when the study is read, and no image without a patient passes."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.data import manifest
from gradfaith.data.raw_files import RawData, open_raw
from gradfaith.data.readers import folder
from gradfaith.errors import DatasetInvalid, StudyInvalid

PATTERN = r"(?P<patient>P\d+)_"
CARD = {
    "title": "mine", "reader": "folder", "raw": "raw", "classes": ["normal", "benign", "malignant"], "evidence": "mask",
    "licence": "mine",
}  # fmt: skip
NAMES = ("normal/P1_1.png", "normal/P1_2.png", "benign/P1_3.png", "benign/P22_1.png", "malignant/P3_1.png")


def plan(tiny: dict[str, Any], root: Path, **changes: Any) -> Plan:
    folder = root / "config/datasets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(CARD | changes))
    return Plan.read(tiny | {"dataset": {"name": "mine"}}, root)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / "raw" / name)
    return tmp_path / "raw"


def opened(tiny: dict[str, Any], root: Path, raw: Path, **changes: Any) -> RawData:
    return open_raw(RuleParams(plan(tiny, root, **changes)).data_settings, str(raw))


def rows(data: RawData) -> dict[str, tuple[str, str]]:
    table = manifest.build_manifest(data.reader, data.folder, data.options, CARD["classes"])
    return {row["image_id"]: (row["group"], row["group_kind"]) for row in table.to_dict("records")}


def test_the_manifest_says_that_patients_are_known(tiny: dict[str, Any], tmp_path: Path, raw: Path) -> None:
    found = rows(opened(tiny, tmp_path, raw, groups={"pattern": PATTERN}))
    assert [found[name] for name in NAMES] == [(name, "patient") for name in ("P1", "P1", "P1", "P22", "P3")]


def test_spellings_that_look_the_same_are_one_patient(tiny: dict[str, Any], tmp_path: Path, raw: Path) -> None:
    (raw / NAMES[0]).rename(raw / "normal/Zo\u00eb_1.png")
    (raw / NAMES[1]).rename(raw / "normal/Zoe\u0308\u200b_2.png")
    found = rows(opened(tiny, tmp_path, raw, groups={"pattern": "^(?P<patient>[^_]+)_"}))
    assert found["normal/Zo\u00eb_1.png"] == found["normal/Zoe\u0308\u200b_2.png"] == ("Zo\u00eb", "patient")


def test_files_without_a_patient_are_counted_and_named(tiny: dict[str, Any], tmp_path: Path, raw: Path) -> None:
    (raw / NAMES[0]).rename(raw / "normal/scan.png")
    (raw / NAMES[3]).rename(raw / "benign/P_1.png")
    data = opened(tiny, tmp_path, raw, groups={"pattern": r"(?P<patient>\d*)_"})
    with pytest.raises(DatasetInvalid, match=r"finds no patient in 2 of 5 file names: benign/P_1.png, normal/scan.png"):
        rows(data)


def test_a_pattern_beside_another_source_of_patients_is_an_error(
    tiny: dict[str, Any], tmp_path: Path, raw: Path
) -> None:
    alone = opened(tiny, tmp_path, raw, groups={"pattern": PATTERN}, options={"one_image_per_patient": True})
    with pytest.raises(DatasetInvalid, match=r"already knows the patient"):
        rows(alone)


def test_private_names_stay_hidden(tiny: dict[str, Any], tmp_path: Path, raw: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = rows(opened(tiny, tmp_path, raw, groups={"pattern": PATTERN}, private=True))
    assert len({group for group, _ in found.values()}) == 3
    (raw / NAMES[0]).rename(raw / "normal/Doe.png")
    with pytest.raises(DatasetInvalid, match="finds no patient in 1 of 5") as error:
        rows(opened(tiny, tmp_path, raw, groups={"pattern": PATTERN}, private=True))
    assert "Doe" not in str(error.value)


def test_groups_alone_infers_them_and_a_missing_key_names_every_way(
    tiny: dict[str, Any], tmp_path: Path, raw: Path
) -> None:
    assert plan(tiny, tmp_path, groups={}).dataset.inferred_groups is not None
    assert {record.group for record in opened(tiny, tmp_path, raw, groups={}).reader.index(raw, folder.Options())} == {
        ""
    }
    data = opened(tiny, tmp_path, raw)
    (raw / NAMES[0]).write_bytes(b"no image is read before this error")
    with pytest.raises(DatasetInvalid, match="5 of 5 images have no patient") as error:
        rows(data)
    for way in ("groups: {pattern: ", "groups: {} ", "one_image_per_patient: true", "groups.csv"):
        assert way in error.value.fix


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"pattern": r"(?P<patient>P\d+_"}, "is not a regular expression: missing )"),
        ({"pattern": r"P\d+_"}, "has no group (?P<patient>...)"),
        ({"pattern": r"(?P<patient>(\w+)+)_"}, "may take minutes"),
        ({"pattern": r"(?P<patient>(a|ab)*)_"}, "may take minutes"),
        ({"pattern": r"(?P<patient>\w+)_(\w+\s?)*\1"}, "may take minutes"),
        ({"pattern": r"\w*\w*\w*\w*(?P<patient>\w+)_"}, "may take minutes"),
        ({"pattern": "a?" * 60 + "(?P<patient>b)"}, "may take minutes"),
        ({"patern": PATTERN}, 'did you mean "pattern"'),
        (
            {"pattern": PATTERN, "cues": []},
            "groups: the patient is in the file name (pattern), so cues would not be used",
        ),
    ],
)
def test_a_pattern_that_cannot_be_used_is_an_error_when_the_study_is_read(
    tiny: dict[str, Any], tmp_path: Path, groups: dict[str, Any], words: str
) -> None:
    with pytest.raises(StudyInvalid) as error:
        plan(tiny, tmp_path, groups=groups)
    assert words in error.value.problem
    assert len(error.value.problem.splitlines()) == 1


@pytest.mark.parametrize(
    "pattern", [PATTERN, r"^(?P<patient>\w+)_\d+_\d+\.(png|tiff?)$", r"(?P<patient>[A-Z]{2}-\d{1,4})[_ ]\w+"]
)
def test_patterns_that_pass_end_within_seconds_on_the_worst_name(
    tiny: dict[str, Any], tmp_path: Path, raw: Path, pattern: str
) -> None:
    (raw / NAMES[0]).rename(raw / "normal" / ("_" * 240 + ".png"))
    data, start = opened(tiny, tmp_path, raw, groups={"pattern": pattern}), time.monotonic()
    with pytest.raises(DatasetInvalid):
        rows(data)
    assert time.monotonic() - start < 10


def test_a_study_without_a_pattern_keeps_the_params_it_had(tiny: dict[str, Any], tmp_path: Path) -> None:
    assert "patient_pattern" not in RuleParams(plan(tiny, tmp_path, groups={})).index()
    assert RuleParams(plan(tiny, tmp_path, groups={"pattern": PATTERN})).index()["patient_pattern"] == PATTERN
