"""The doctor looks at real things: this torch, this file system, this study; what is broken names a fix and fails the command."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save

from gradfaith.cli.cost import forecast
from gradfaith.cli.doctor import checks
from gradfaith.cli.main import main
from gradfaith.dag.plan import Plan


@pytest.fixture
def place(tmp_path: Path, root: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny study."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/datasets").symlink_to(root / "config/datasets")
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(tiny))
    included = f"include: {str(root / 'Snakefile')!r}\n"  # without its default target
    (tmp_path / "Snakefile").write_text(
        f"{included}rule everything:\n    default_target: True\n    input: rules.all.input\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """On a machine without SLURM: there is nothing but Python, and what Snakemake needs."""
    tools = Path.cwd() / "tools"
    tools.mkdir()
    for name in ("bash", "which"):
        (tools / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{tools}")
    monkeypatch.setattr(sys, "argv", ["gradfaith", "doctor", *words])
    main()


def test_a_study_that_can_run_here_is_well(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(monkeypatch)
    said = capsys.readouterr().out
    for line in (
        "study: config/config.yaml is valid",
        "torch: torch ",
        "folders: .snakemake/, results/ can be written to",
        "file locks: they work in the folder that results/ will be in",
        "weights: none needed",
        "SLURM: none here",
    ):
        assert f"well      {line}" in said, said
    assert "broken" not in said
    assert not (place / "results").exists()


def test_the_findings_are_printed_as_json_and_a_profile_is_checked(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        ask(monkeypatch, "--json", "--profile", "slrum")
    assert end.value.code == 1
    found = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["study"]["state"] == "well"
    assert found["profile"]["state"] == "broken"
    assert found["profile"]["found"] == "there is no profiles/slrum/config.yaml"


def test_an_invalid_study_and_a_missing_file_of_weights_are_broken(
    place: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "config/config.yaml").write_text(yaml.safe_dump({**tiny, "seeds": []}))
    with pytest.raises(SystemExit, match="1 broken"):
        ask(monkeypatch)
    assert "broken    study: StudyInvalid: config/config.yaml: seeds: " in capsys.readouterr().out
    networks = {**tiny["architectures"], "net-a": {**tiny["architectures"]["net-a"], "weights": "own.safetensors"}}
    plan = Plan.read({**tiny, "architectures": networks}, place)
    (found,) = checks.check_weights(plan, "mine.yaml")
    assert (found.state, found.found) == ("broken", "there is no file own.safetensors")
    pretrained = Plan.read({**tiny, "training": {**tiny["training"], "weights": "pretrained"}}, place)
    (found,) = checks.check_weights(pretrained, "mine.yaml")
    assert (found.state, found.found) == ("doubtful", "2 of 2 are not fetched yet")
    assert found.fix.endswith("resources/weights/test_vit.r160_in1k.safetensors --configfile mine.yaml")


def test_a_torch_that_cannot_be_imported_is_broken_and_the_rest_is_still_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "torchvision").mkdir()
    (place / "torchvision/__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", f"{place}:{Path(checks.__file__).parents[1]}")
    (found,) = checks.check_torch()
    assert found.state == "broken"
    assert "nms does not exist" in found.found
    assert "envs/run.txt" in found.fix


def test_a_check_that_fails_itself_is_broken_and_hides_no_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def old(_plan: object) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old")

    monkeypatch.setattr(checks, "check_devices", old)
    (place / "results").write_text("a file, where a folder should be")
    said = list(checks.run_checks("config/config.yaml", place))
    found = {one.check: one for one in said}
    assert [one.check for one in said] == [
        "study",
        "torch",
        "devices",
        "folders",
        "file locks",
        "disk",
        "weights",
        "SLURM",
        "earlier run",
    ]
    assert (found["devices"].state, "too old" in found["devices"].found) == ("broken", True)
    assert "device: cpu" in found["devices"].fix
    assert (found["file locks"].state, found["file locks"].found) == ("broken", "results/: Not a directory")
    assert found["weights"].state == "well"


@pytest.mark.parametrize(
    ("child", "state", "said"),
    [
        ("pass", "broken", "a second process got a lock"),
        ("raise OSError(9, 'Bad file descriptor')", "broken", "cannot ask for a lock: OSError: [Errno 9]"),
        (checks.LOCK_SCRIPT, "well", "they work in"),
    ],
)
def test_only_a_held_lock_is_an_answer(
    place: Path, monkeypatch: pytest.MonkeyPatch, child: str, state: str, said: str
) -> None:
    (place / "results").mkdir()
    monkeypatch.setattr(checks, "LOCK_SCRIPT", child)
    monkeypatch.setattr(checks, "MOUNTS", place / "none")
    (found,) = checks.check_file_locks(place)
    assert found.state == state
    assert said in found.found


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        (
            "server:/home /home/a\\040b nfs rw,vers=3,nolock,local_lock=all 0 0",
            "nfs at /home/a b, local_lock=all,nolock",
        ),
        ("server:/home /home/a\\040b nfs4 rw,vers=4.2,local_lock=none 0 0", ""),
        ("server:/home /home/a\\040b nfs rw,vers=3,local_lock=posix 0 0", ""),
        ("mds:/fs /home lustre rw,flock,lazystatfs 0 0", ""),
        ("mds:/fs /home lustre rw,lazystatfs 0 0", "lustre at /home, without flock"),
        ("mds:/fs /home lustre rw,localflock 0 0", "lustre at /home, localflock"),
        ("server:/home /home/other nfs rw,nolock 0 0", ""),
        ("server:/home /home nfs rw,nolock 0 0\n/dev/sda /home/a\\040b ext4 rw 0 0", ""),
    ],
)
def test_a_mount_whose_locks_stay_on_one_machine_is_seen(
    place: Path, monkeypatch: pytest.MonkeyPatch, mount: str, said: str
) -> None:
    mounts = f"/dev/root / ext4 rw 0 0\n{mount}\n"
    assert checks.find_local_locks(mounts, Path("/home/a b/results")) == said
    (place / "mounts").write_text(mounts.replace("/home/a\\040b", str(place)).replace("/home ", f"{place} "))
    monkeypatch.setattr(checks, "MOUNTS", place / "mounts")
    (found,) = checks.check_file_locks(place)
    assert found.state == ("doubtful" if said else "well")


@pytest.mark.parametrize(("free", "state"), [(1e8, "broken"), (3e9, "doubtful"), (1e11, "well")])
def test_a_full_disk_is_seen(place: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    usage = type(checks.shutil.disk_usage(place))
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _path: usage(int(2e11), int(2e11 - free), int(free)))
    (found,) = checks.check_disk(None, "", place)
    assert found.state == state
    assert found.found.endswith(" GB free, but the space that the study needs is unknown")


def line(rule: str, left: int, coming: float | None) -> forecast.RuleForecast:
    unsized = left if coming is None else 0
    return forecast.RuleForecast(rule, 4, left, 0, left, 0, False, "", 0, coming or 0, unsized, 0, "")


@pytest.mark.parametrize(
    ("lines", "free", "state", "said"),
    [
        ([line("explain", 4, 3e9)], 4e9, "doubtful", "4.0 GB free, about 3.00 GB to come"),
        ([line("explain", 4, 1e6)], 1e9, "well", "1.0 GB free, about 0.00 GB to come"),
        (
            [line("predict", 4, 1e6), line("explain", 4, None)],
            1e9,
            "broken",
            "1.0 GB free, about 0.00 GB to come; unknown for explain",
        ),
        ([line("explain", 0, 0)], 1e8, "well", "0.1 GB free"),
    ],
)
def test_what_has_no_record_is_not_taken_for_nothing(
    place: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    lines: list[forecast.RuleForecast],
    free: float,
    state: str,
    said: str,
) -> None:
    usage = type(checks.shutil.disk_usage(place))
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _path: usage(int(2e11), 0, int(free)))
    monkeypatch.setattr(forecast, "forecast_study", lambda *_: (lines, []))
    (found,) = checks.check_disk(Plan.read(tiny, place), "", place)
    assert (found.state, found.found) == (state, said)


def test_the_disk_asked_is_the_one_that_results_lie_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "elsewhere").mkdir()
    (place / "results").symlink_to(place / "elsewhere")
    usage, asked = checks.shutil.disk_usage(place), list[Path]()

    def asks(path: Path) -> Any:
        asked.append(path.resolve())
        return usage

    monkeypatch.setattr(checks.shutil, "disk_usage", asks)
    list(checks.check_disk(None, "", place))
    assert asked == [place / "elsewhere"]


def test_weights_that_a_training_would_refuse_are_broken(place: Path, tiny: dict[str, Any]) -> None:
    plan = Plan.read({**tiny, "training": {**tiny["training"], "weights": "pretrained"}}, place)
    whole = save({"weight": torch.zeros(8)})
    folder = place / "resources/weights"
    folder.mkdir(parents=True)
    one, other = (folder / f"test_{name}.r160_in1k.safetensors" for name in ("resnet", "vit"))
    one.write_bytes(whole)
    other.write_bytes(whole)
    (found,) = checks.check_weights(plan, "mine.yaml")
    assert (found.state, found.found) == ("well", "all 2 files are there")
    for spoilt in (b"", whole[:-1]):
        other.write_bytes(spoilt)
        (found,) = checks.check_weights(plan, "mine.yaml")
        assert (found.state, other.name in found.found) == ("broken", True)
        assert found.fix.endswith(f"{other.name} --configfile mine.yaml")
    one.with_suffix(".json").write_text('{"timm": "test_resnet.r160_in1k", "sha256": "0"}')
    assert [found.state for found in checks.check_weights(plan, "mine.yaml")] == ["broken", "broken"]


def test_a_gpu_that_a_study_asks_for_and_nobody_sees_is_doubtful(
    place: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(checks.shutil, "which", lambda _name: None)
    _, found = checks.check_devices(Plan.read({**tiny, "compute": {**tiny.get("compute", {}), "gpus": 1}}, place))
    assert (found.state, found.found) == ("doubtful", "the study has compute.gpus: 1, but there is no GPU here")


MADE = """
rule all:
    input: "results/s/scores.parquet", "results/s/curves.parquet"
rule make:
    output: "results/s/{name}.parquet"
    log: "{name}.log"
    shell: "touch {output}"
"""


def test_what_a_killed_run_left_is_seen(place: Path, tiny: dict[str, Any]) -> None:
    plan, study = Plan.read(tiny, place), "config/config.yaml"
    (found,) = checks.check_earlier_run(plan, study, place)
    assert found.state == "well"
    (place / "Snakefile").write_text(MADE)
    for arguments in (["-c1"], ["--cleanup-metadata", "results/s/curves.parquet"]):
        subprocess.run([sys.executable, "-m", "snakemake", *arguments], cwd=place, check=True, capture_output=True)
    (found,) = checks.check_earlier_run(plan, study, place)
    assert (found.state, found.found) == (
        "doubtful",
        "there is no record of how these files were made: results/s/curves.parquet",
    )
    (place / ".snakemake/locks").mkdir(exist_ok=True)
    (place / ".snakemake/locks/0.output.lock").write_text("")
    (found,) = checks.check_earlier_run(plan, study, place)
    assert "make resume" in found.fix


def test_a_read_only_folder_is_broken_where_a_job_will_write(
    place: Path, tiny: dict[str, Any], read_only: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for folder in ("resources", "results"):
        (place / folder).mkdir()
        read_only(place / folder)
    (found,) = checks.check_folders(Plan.read(tiny, place), place)
    assert found.found.startswith(f"{place}/results cannot be written to: "), "nothing will be fetched"
    (place / "config/config.yaml").write_text(yaml.safe_dump(pretrained_study(tiny)))
    with pytest.raises(SystemExit, match="3 broken"):
        ask(monkeypatch)
    said = capsys.readouterr().out
    assert f"broken    folders: {place}/resources/weights cannot be written to: {place}/resources " in said
    assert f"Make {place}/resources writable (chmod, or mount it read-write)" in said
    assert f"broken    folders: {place}/results cannot be written to" in said
    assert "results/ must be a folder that you may write to." in said, "that is no question of locks"
    assert "NFS" not in said


def test_a_read_only_resources_folder_is_well_when_everything_is_there(
    place: Path, tiny: dict[str, Any], read_only: Callable[[Path], None]
) -> None:
    plan = Plan.read(pretrained_study(tiny), place)
    for weights in plan.fetched_weights:
        path = place / weights
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"kept")
    read_only(place / "resources")
    (found,) = checks.check_folders(plan, place)
    assert found.state == "well"


def pretrained_study(tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, "training": {**tiny["training"], "weights": "pretrained"}}
