"""`gradfaith verdict` prints the gates of a finished study, and its JSON follows the schema."""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest
from small_study import ARCHS, SmallStudy

from gradfaith.cli.main import main
from gradfaith.cli.reference import generate
from gradfaith.stats.verdict import StudyVerdict
from gradfaith.storage import json_file
from gradfaith.storage.identity import VERDICT_FORMAT

ROOT = Path(__file__).parents[3]
VERDICT = "results/tiny/verdict.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("project")
    (home / "Snakefile").touch()
    (home / "config/datasets").mkdir(parents=True)
    shutil.copy(ROOT / "config/datasets/phantom.yaml", home / "config/datasets")
    shutil.copy(ROOT / "tests/workflow/tiny.yaml", home)
    verdict = StudyVerdict.of_content(json_file.read(str(SmallStudy(home / "made").inputs["verdict"])))
    (home / VERDICT).parent.mkdir(parents=True)
    json_file.write_identified(
        home / VERDICT, asdict(verdict), {"results/tiny/estimates.parquet": "0"}, version=VERDICT_FORMAT
    )
    return home


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["gradfaith", "verdict", "tiny.yaml", *words])
    main()


def test_the_gates_are_printed_with_values_margins_and_reasons(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(folder, monkeypatch)
    said = capsys.readouterr().out
    study = StudyVerdict.of_content(json_file.read(folder / VERDICT))
    for arch, one in zip(ARCHS, study.methods, strict=True):
        assert f"gradcam on {arch}: {one.verdict.upper()}\n" in said
        assert one.statement in said
        assert one.not_to_conclude in said
    assert "low > 0.05" in said
    assert "2 seeds, and this gate needs 3" in said
    assert said.endswith("Not for clinical use.\n")


def test_the_json_is_the_file_and_follows_the_schema(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(folder, monkeypatch, "--json")
    assert json.loads(capsys.readouterr().out) == json_file.read(folder / VERDICT)
    schema = json.loads(generate.verdict_schema())
    written = json.loads((folder / VERDICT).read_text())
    jsonschema.validate(written, schema)
    written["methods"][0]["verdict"] = "maybe"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema)


def test_a_study_without_a_verdict_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    (copied / VERDICT).unlink()
    with pytest.raises(SystemExit, match=r"NotInStudy: there is no file results/tiny/verdict.json"):
        command(copied, monkeypatch)
