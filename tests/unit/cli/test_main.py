"""What a person asks at the prompt: answered in lines, refused without a traceback."""

import json
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from PIL import Image
from sleeping_job import SLEEPER, start_job

from gradfaith import registry
from gradfaith.cli import compare, main
from gradfaith.cli.commands import unlock
from gradfaith.cli.reference import generate
from gradfaith.data import private_names
from gradfaith.data.readers import folder
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import MapWriter
from gradfaith.storage.map_info import MapInfo


def ask(monkeypatch: pytest.MonkeyPatch, where: Path, *words: str) -> None:
    if not (where / "Snakefile").exists():  # a folder that commands take for the project's
        (where / "Snakefile").touch()
        (where / "config").mkdir(exist_ok=True)
    monkeypatch.chdir(where)
    monkeypatch.setattr(sys, "argv", ["gradfaith", *words])
    main.main()


def test_check_counts_models_and_cells(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch, root, "check", "--fast", "tests/workflow/tiny.yaml")
    said = capsys.readouterr().out
    assert "tiny: lung CT phantom, computed, evidence: mask" in said
    assert "4 models (net-a, net-b; seeds [0, 1]), bundles cams, controls" in said
    assert "8 cells of maps, 8 of faithfulness" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no file"),
        ("", "not a mapping"),
        ("- a\n", "not a mapping"),
        ("a: [\n", "cannot be read"),
        ("stdy: x\n", 'did you mean "study"'),
    ],
)
def test_a_study_that_cannot_be_read_is_refused_in_words(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    path = tmp_path / "study.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as end:
        ask(monkeypatch, root, "check", str(path))
    assert str(end.value).startswith("StudyInvalid: ")
    assert said in str(end.value)


def test_show_says_what_a_store_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 1, 4, 5)).astype(np.float32)
    maps[1] = 0
    rows = pd.DataFrame({"image_id": ["a", "b"], "target": 0, "role": "both"})
    with MapWriter(tmp_path / "m.h5", rows, {"arch": "net", "settings": "long"}) as writer:
        writer.put("cam", MapInfo("gradcam", "layer4", "native", False, 1, "log_odds"), 0, maps, 1.0)
        notes = {"error": np.float32([0.5, 0.1]), "fit": np.float32([np.nan, 0.8]), "none": np.float32([np.nan] * 2)}
        writer.put("pixels", MapInfo("saliency", "", "input", True, 1, "logit"), 0, maps, 1.0, notes)
    ask(monkeypatch, tmp_path, "show", "m.h5")
    *lines, stamp = capsys.readouterr().out.split("\n", 5)
    assert lines == [
        "cam: 2 maps x 1, 4 x 5, layer layer4, score log_odds, 1 not ok",
        "pixels: 2 maps x 1, 4 x 5, layer -, score logit, 1 not ok",
        "    error: mean 0.3, from 0.1 to 0.5",
        "    fit: 0.8, 1 not finite",
        "    none: no finite value",
    ]
    assert json.loads(stamp) == {"arch": "net"}
    ask(monkeypatch, tmp_path, "show", "m.h5", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert shown["stamp"] == {"arch": "net"}
    assert shown["methods"]["cam"] == {
        "maps": 2, "copies": 1, "height": 4, "width": 5, "layer": "layer4", "score": "log_odds", "not_ok": 1, "diagnostics": [],
    }  # fmt: skip
    (tmp_path / "m.h5").write_bytes(b"cut")
    with pytest.raises(SystemExit, match=r"BrokenStore(.|\n)*Replace m\.h5"):
        ask(monkeypatch, tmp_path, "show", "m.h5")
    with pytest.raises(SystemExit, match=r"there is no file nofile\.h5") as end:
        ask(monkeypatch, tmp_path, "show", "nofile.h5")
    assert "Delete" not in str(end.value)


def test_methods_are_listed_within_the_width_of_a_page_and_without_torch(root: Path) -> None:
    script = (
        "import sys; from gradfaith.cli.main import main; sys.argv = ['gradfaith', 'methods']; main()\n"
        "assert not {'torch', 'timm', 'h5py'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    started = {line.split()[0] for line in lines if line and not line.startswith(" ")}
    assert {*registry.names("methods"), *registry.names("controls")} <= started


def test_methods_say_for_which_networks_they_are(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch, root, "methods", "--arch", "test_resnet.r160_in1k", "--study", "tests/workflow/tiny.yaml")
    said = capsys.readouterr().out
    assert "not for net-b: other modules than average pooling and one linear layer" in _lines_of(said, "cam")
    assert "defined for test_resnet.r160_in1k, net-a" in _lines_of(said, "cam")
    token = _lines_of(said, "token_gradcam")  # at a layer of its own
    assert "defined for net-b" in token
    assert "not for net-a: " in token
    with pytest.raises(SystemExit, match=r"ModelUnusable: timm .* has no architecture"):
        ask(monkeypatch, root, "methods", "--arch", "resnet5o")


def _lines_of(said: str, name: str) -> str:
    """What stands under a method, up to the next."""
    lines = iter(said.splitlines())
    next(line for line in lines if line.split()[:1] == [name])
    return "\n".join(takewhile(lambda line: line.startswith(" "), lines))


def test_a_study_is_found_by_its_name(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("phantom", "shortcut"):  # config/config.yaml, and one of config/studies/
        ask(monkeypatch, root, "check", "--fast", name)
        assert capsys.readouterr().out.splitlines()[0].split()[:2] == ["study", f"{name}:"]
    with pytest.raises(SystemExit, match=r'no study "phantm".*did you mean "phantom"'):
        ask(monkeypatch, root, "check", "phantm")


@pytest.mark.parametrize("count", ["-5", "0", "many", "1.5"])
def test_a_number_of_images_is_whole_and_above_0(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: str
) -> None:
    with pytest.raises(SystemExit):
        ask(monkeypatch, root, "cost", "--study", "phantom", f"--images={count}")
    assert f"a whole number above 0, found {count}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seeds", "said"), [([], "StudyInvalid: study.yaml: seeds"), ([0, 1], "SnakemakeFailed: .*not this one")]
)
def test_cost_refuses_what_snakemake_would(
    root: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, seeds: list[int], said: str
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/datasets").symlink_to(root / "config/datasets")
    (tmp_path / "Snakefile").write_text("raise WorkflowError('not this one')\n")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tiny | {"seeds": seeds}))
    with pytest.raises(SystemExit, match=said) as refused:
        ask(monkeypatch, tmp_path, "cost", "--study", "study.yaml")
    assert len(str(refused.value).splitlines()) == 3  # problem, reason, fix


def test_compare_writes_its_table_into_a_new_folder_and_refuses_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = parquet.empty(parquet.ESTIMATES).reindex(
        columns=[*parquet.ESTIMATES, *compare.JOIN_KEYS, *compare.COMPARED_COLUMNS]
    )
    nothing = nothing.loc[:, ~nothing.columns.duplicated()]
    parquet.write(tmp_path / "results/a/estimates.parquet", nothing, parquet.ESTIMATES)
    (tmp_path / "a.yaml").write_text("study: a\n")
    ask(monkeypatch, tmp_path, "compare", "a", "a.yaml", "--csv", "new/table.csv")
    assert (tmp_path / "new/table.csv").read_text().startswith("metric,")
    capsys.readouterr()
    ask(monkeypatch, tmp_path, "compare", "a", "a.yaml", "--json")
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(SystemExit, match=r"CannotWrite: a\.yaml cannot be written to"):
        ask(monkeypatch, tmp_path, "compare", "a", "a", "--csv", "a.yaml/table.csv")


PRIVATE = {
    "title": "mine", "reader": "folder", "raw": "raw", "classes": ["ill", "well"], "evidence": "none", "licence": "mine",
    "options": {"one_image_per_patient": True}, "private": True,
}  # fmt: skip


def private_study(home: Path, tiny: dict[str, Any]) -> None:
    """A study of a private dataset whose images are named after patients."""
    for name in ("config/datasets", "config/studies", "raw/ill", "raw/well"):
        (home / name).mkdir(parents=True)
    for number, name in enumerate(("ill/Doe-Jane.png", "ill/Mueller.png", "well/Roe.png")):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(home / "raw" / name)
    (home / "config/datasets/mine.yaml").write_text(yaml.safe_dump(PRIVATE))
    study = tiny | {"study": "secret", "dataset": {"name": "mine"}, "localization": [], "figures": ["classification"]}
    (home / "config/studies/secret.yaml").write_text(yaml.safe_dump(study | {"primary": PRIMARY}))


PRIMARY = {"metric": "faith", "method": "gradcam", "against": "random-grid"}


def test_raw_name_finds_the_file_of_an_id_where_the_key_is(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    private_study(tmp_path, tiny)
    key = private_names.read_or_make_key(tmp_path / "resources/mine/private.key")
    record = next(iter(folder.index(tmp_path / "raw", folder.Options(**PRIVATE["options"]))))
    for name in (record.image_id, record.file):  # as the manifest, and as an error names it
        ask(monkeypatch, tmp_path, "raw-name", "secret", private_names.keyed_hash(name, key))
        assert capsys.readouterr().out == f"raw/{record.file}\n"
    for name in ("Doe-Jane", record.file, "0" * private_names.DIGITS, ""):  # names and unknown ids
        with pytest.raises(SystemExit, match='NotInStudy: no raw file has the id "') as refused:
            ask(monkeypatch, tmp_path, "raw-name", "secret", name)
        assert len(str(refused.value).splitlines()) == 3


def test_raw_name_makes_no_key_where_there_is_none(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine a new key would find nothing, and stand in the way of the right one."""
    private_study(tmp_path, tiny)
    with pytest.raises(SystemExit, match=r"NotInStudy: there is no key file resources/mine/private\.key") as refused:
        ask(monkeypatch, tmp_path, "raw-name", "config/studies/secret.yaml", "0" * private_names.DIGITS)
    assert "Run the command on the machine that has the key" in str(refused.value)
    assert not (tmp_path / "resources").exists()


def test_schema_writes_all_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    ask(monkeypatch, tmp_path, "schema")
    assert (tmp_path / generate.SCHEMA).read_text() == generate.study_schema()
    assert (tmp_path / generate.KEYS).read_text() == generate.keys_page()
    assert (tmp_path / generate.METHODS).read_text() == generate.methods_page()
    assert (tmp_path / generate.METRICS).read_text() == generate.metrics_page()
    assert (tmp_path / generate.COMMANDS).read_text() == generate.commands_page()


def test_unlock_refuses_while_a_job_or_a_snakemake_lives_and_works_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "Snakefile").write_text("rule all:\n    output: 'out.txt'\n    shell: 'touch {output}'\n")
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{tmp_path / 'out.txt'}\n")
    log = tmp_path / "results/tiny/logs/pack_images.log"
    holder = start_job(log, sys.executable, "-c", SLEEPER, str(log))
    with pytest.raises(SystemExit, match=r"the job that writes results/tiny/logs/pack_images\.log"):
        ask(monkeypatch, tmp_path, "unlock")
    holder.kill()
    holder.wait()
    (tmp_path / "snakemake").write_text("import time; time.sleep(60)")
    above = subprocess.Popen([sys.executable, "snakemake"], cwd=tmp_path)
    with pytest.raises(SystemExit, match=rf"snakemake \(pid {above.pid}\)"):
        ask(monkeypatch, tmp_path, "unlock")
    above.kill()
    above.wait()
    assert list(locks.iterdir())
    (tmp_path / "snakemake").unlink()
    ask(monkeypatch, tmp_path, "unlock")
    assert not locks.exists() or not list(locks.iterdir())


def test_unlock_says_what_snakemake_said_and_takes_the_study_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "Snakefile").write_text("rule all:\n    output: config['out']\n")
    with pytest.raises(SystemExit, match="StillLocked: Snakemake did not unlock"):
        ask(monkeypatch, tmp_path, "unlock")  # no study, no key
    (tmp_path / "mine.yaml").write_text("out: out.txt\n")
    ask(monkeypatch, tmp_path, "unlock", "mine.yaml")


def test_a_process_that_ends_while_it_is_looked_at_is_no_run(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""], cwd=tmp_path)
    process = psutil.Process(gone.pid)
    gone.wait()
    assert unlock._describe_live_process(process, tmp_path) == ""


def test_a_reader_that_has_enough_ends_a_command_quietly(root: Path) -> None:
    command = [sys.executable, "-m", "gradfaith.cli.main", "methods"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
