"""A study is found by what its key says, whatever its file is called; a file that cannot be read hides no other."""

from pathlib import Path

import pytest

from gradfaith.config import locate
from gradfaith.errors import StudyInvalid
from gradfaith.storage import paths


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Studies whose names are not those of their files, and files that are none."""
    folder = tmp_path / paths.STUDIES
    folder.mkdir(parents=True)
    (folder / "first.yaml").write_text("study: mine\n")
    (folder / "plain.yaml").write_text("study: plain\n")
    (folder / "cut.yaml").write_text("a: [\n")
    (folder / "latin.yaml").write_bytes("study: caf\xe9\n".encode("latin-1"))
    return tmp_path


def test_a_study_is_found_by_its_key(place: Path) -> None:
    assert locate.study_file("mine", place) == place / paths.STUDIES / "first.yaml"
    assert locate.study_file("plain", place) == place / paths.STUDIES / "plain.yaml"
    (place / paths.STUDIES / "mine.yaml").write_text("study: mine\n")
    assert locate.study_file("mine", place) == place / paths.STUDIES / "mine.yaml"  # its own file first
    assert locate.study_file("any/where.yaml", place) == Path("any/where.yaml")


def test_a_misspelt_name_is_about_names_and_files_that_cannot_be_read_are_named(place: Path) -> None:
    with pytest.raises(StudyInvalid) as refusal:
        locate.study_file("mime", place)
    assert refusal.value.problem == (
        'there is no study "mime" in config/; did you mean "mine"? '
        "config/studies/cut.yaml, config/studies/latin.yaml cannot be read."
    )
    assert "there are mine, plain." in refusal.value.reason
    with pytest.raises(StudyInvalid, match=r"cut\.yaml cannot be read as a study"):
        locate.study_file("cut", place)
    with pytest.raises(StudyInvalid, match=r"latin\.yaml cannot be read as a study: .*utf-8"):
        locate.read_document(place / paths.STUDIES / "latin.yaml")


def test_a_file_that_is_not_there_has_no_indentation(tmp_path: Path) -> None:
    with pytest.raises(StudyInvalid, match=r"there is no file .*none\.yaml") as refusal:
        locate.read_document(tmp_path / "none.yaml")
    assert "indentation" not in refusal.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study: a\nseeds: [0]\nseeds: [1]\n", "the key seeds occurs twice"),
        ("study: a\nimage: {size: 32, size: 64}\n", "the key size occurs twice"),
        ("study: " + "[" * 3000 + "]" * 3000, "it is nested too deeply"),
    ],
)
def test_a_key_that_stands_twice_and_endless_nesting_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(StudyInvalid, match="cannot be read as a study") as refusal:
        locate.read_document(tmp_path / "a.yaml")
    assert said in refusal.value.problem


def test_a_merged_key_may_be_overridden_and_merged_again(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("deep: {a: &a {<<: &b {x: 1, y: 2}, x: 3}}\ntop: {<<: *a, z: 4}\n")
    found = locate.read_document(tmp_path / "a.yaml")
    assert found == {"deep": {"a": {"x": 3, "y": 2}}, "top": {"x": 3, "y": 2, "z": 4}}
