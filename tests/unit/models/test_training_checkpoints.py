"""States of a training: the last two are kept, a torn one is said and passed over, one of another training is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gradfaith.errors import CannotWrite, ForeignProgress, JobAlive
from gradfaith.models.training.checkpoints import CheckpointKeeper, TrainingState
from gradfaith.runtime.folder_lock import FolderLock

DECIDES: dict[str, Any] = {"recipe": {"lr": 1e-3, "epochs": 3}, "spec": {"mean": (0.1, 0.2)}, "seed": 1}


def state(step: int) -> TrainingState:
    return TrainingState(
        {"a": torch.arange(5) + step, "b": torch.tensor(0.5)}, {"step": step, "history": [{"loss": 1 / 3}]}
    )


def keeper(folder: Path, decides: dict[str, Any] = DECIDES, every: float = 60) -> CheckpointKeeper:
    return CheckpointKeeper(folder / "progress", decides, every=every)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three states were saved; where the last two lie."""
    with keeper(tmp_path) as kept:
        return [kept.save(state(step)) for step in (1, 2, 3)][1:]


def latest(folder: Path, decides: dict[str, Any] = DECIDES) -> TrainingState | None:
    with keeper(folder, decides) as kept:
        return kept.load_latest()


def test_a_state_comes_back_as_it_was_and_the_last_two_are_kept(tmp_path: Path, three: list[Path]) -> None:
    assert sorted(path.name for path in (tmp_path / "progress").iterdir()) == ["lock", *(path.name for path in three)]
    found = latest(tmp_path)
    assert found is not None
    assert found.notes == state(3).notes
    assert found.tensors.keys() == {"a", "b"}
    assert all(torch.equal(value, state(3).tensors[name]) for name, value in found.tensors.items())
    assert torch.equal(load_file(three[1])["a"], state(3).tensors["a"]), "any reader of safetensors can look at it"


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert latest(tmp_path) is None


@pytest.mark.parametrize("fault", ["cut", "emptied", "one bit", "another's content"])
def test_a_torn_state_is_said_and_the_older_one_is_taken(
    tmp_path: Path, three: list[Path], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = three[1].read_bytes()
    torn = {"cut": whole[:-7], "emptied": b"", "one bit": whole[:-1] + bytes([whole[-1] ^ 1])}
    three[1].write_bytes(torn.get(fault, three[0].read_bytes()))
    found = latest(tmp_path)
    assert found is not None
    assert found.notes["step"] == 2
    said = capsys.readouterr().out
    assert f"{three[1]} is damaged" in said
    assert f"resuming from {three[0].name}" in said
    with keeper(tmp_path) as kept:
        kept.save(state(9))
        assert len(list(kept.folder.glob("state-*"))) == 2, "two whole ones"


def test_where_none_is_whole_training_begins_anew_and_says_so(
    tmp_path: Path, three: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in three:
        path.write_bytes(path.read_bytes()[:100])
    assert latest(tmp_path) is None
    assert "training starts from the beginning" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": {"lr": 2e-3, "epochs": 3}}, "recipe.lr was 0.001 and is 0.002"),
        ({"recipe": None}, 'recipe was {"epochs": 3, "lr": 0.001} and is null'),
        ({"seed": 2, "spec": {"mean": 0.1}}, "seed was 1 and is 2; spec.mean was [0.1, 0.2] and is 0.1"),
        ({"weights": "ab"}, 'weights was null and is "ab"'),
    ],
)
@pytest.mark.usefixtures("three")
def test_a_state_of_another_training_is_refused_by_what_differs(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ForeignProgress, match="is a state of another training: ") as refusal:
        latest(tmp_path, DECIDES | changes)
    assert said in refusal.value.problem
    assert f"Delete {tmp_path / 'progress'}" in refusal.value.fix
    assert latest(tmp_path) is not None, "and nothing was lost by asking"


def renamed(path: Path) -> Path:
    """A whole file under the name that its content asks for."""
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    return path.rename(path.with_name(f"state-000099-{digest}.safetensors"))


@pytest.mark.parametrize("kind", ["weights", "bytes", "format", "no format", "no decides", "a list"])
def test_a_whole_file_that_is_no_state_is_refused(tmp_path: Path, three: list[Path], kind: str) -> None:
    if kind == "bytes":
        three[1].write_bytes(b"{}" * 99)
    else:
        said: Any = {"format": 99 if kind == "format" else 1, "decides": DECIDES, "notes": {}}
        said.pop(kind.removeprefix("no "), None) if kind.startswith("no ") else None
        about = {"gradfaith": json.dumps([] if kind == "a list" else said)}
        save_file({"a": torch.zeros(2)}, three[1], None if kind == "weights" else about)
    renamed(three[1])
    with pytest.raises(ForeignProgress, match="has format 99" if kind == "format" else "is not a training state"):
        latest(tmp_path)


@pytest.mark.usefixtures("three")
def test_another_file_in_the_folder_is_said_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = tmp_path / "progress/state.pt"
    stray.write_text("x")
    assert latest(tmp_path) is not None
    assert f"{stray} is ignored" in capsys.readouterr().out
    assert stray.exists()


@pytest.mark.usefixtures("three")
def test_drafts_of_a_killed_trainer_go(tmp_path: Path) -> None:
    drafts = [tmp_path / "progress/.state-000004-x.safetensors.77-ab.tmp", tmp_path / ".weights.safetensors.77-ab.tmp"]
    for draft in drafts:
        draft.write_bytes(b"half")
    latest(tmp_path)
    assert not any(draft.exists() for draft in drafts)


def test_it_is_due_when_the_time_is_over(tmp_path: Path) -> None:
    with keeper(tmp_path, every=1e-9) as kept:
        assert kept.save_is_due
    with keeper(tmp_path, every=1e9) as kept:
        assert not kept.save_is_due


def test_a_full_disk_keeps_the_older_states(tmp_path: Path, three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with keeper(tmp_path) as kept, monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(CannotWrite):
            kept.save(state(4))
    assert all(path.exists() for path in three)
    found = latest(tmp_path)
    assert found is not None
    assert found.notes["step"] == 3


def test_of_a_model_that_is_written_the_last_state_stays(tmp_path: Path, three: list[Path]) -> None:
    with keeper(tmp_path) as kept:
        kept.drop_all_but_last_state()
    assert sorted(path.name for path in (tmp_path / "progress").iterdir()) == ["lock", three[1].name]


def test_where_nothing_was_kept_no_folder_stays(tmp_path: Path) -> None:
    with keeper(tmp_path) as kept:
        kept.drop_all_but_last_state()
    assert os.listdir(tmp_path) == []


def test_a_finished_state_of_another_training_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with keeper(tmp_path) as kept:
        kept.save(state(1))
        kept.save(TrainingState(state(2).tensors, {"over": True}))
    assert latest(tmp_path, DECIDES | {"seed": 2}) is None
    assert "of another, finished training (seed was 1 and is 2): dropped" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


def test_two_keepers_do_not_share_a_folder(tmp_path: Path) -> None:
    with keeper(tmp_path), pytest.raises(JobAlive, match=f"is held by process {os.getpid()} on "), keeper(tmp_path):
        pass
    assert latest(tmp_path) is None


FROZEN = """
import fcntl, os, sys, types
from pathlib import Path

import torch

def none(*_):
    raise OSError(38, "Function not implemented")

fcntl.flock = none  # a filesystem without locks
os.uname = lambda: types.SimpleNamespace(nodename="elsewhere")  # another machine

from gradfaith.errors import LockLost
from gradfaith.models import checkpoint
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.models.training.checkpoints import CheckpointKeeper, TrainingState
from gradfaith.models.training.train_job import TensorBoardWriter, write_history
from gradfaith.models.training.training_run import EpochRow
from gradfaith.models.training.loop import TrainedClassifier

folder = Path(sys.argv[1])
model = build_classifier(ClassifierSpec("test_resnet.r160_in1k", 3, 1, 1, 32, 0.3, 0.2), seed=0)
state = TrainingState({"a": torch.zeros(3)}, {"step": 1})
with CheckpointKeeper(folder / "progress", {"seed": 1}, every=60) as keeper:
    keeper.save(state)
    confirm = keeper.confirm_lock
    events, unopened = (TensorBoardWriter(folder / name, confirm=confirm) for name in ("events", "more events"))
    events.write_epoch(EpochRow(1, 1e-3, 0.5, 0.4, 0.9, 0.8, 1.5))
    print("saved", flush=True)
    sys.stdin.readline()
    for name, save in {
        "state": lambda: keeper.save(state),
        "reason to give up": lambda: keeper.give_up("it diverged"),
        "history": lambda: write_history(str(folder / "history.csv"), TrainedClassifier(model, (), 1), confirm=confirm),
        "model": lambda: checkpoint.save(folder, model, {"seed": 1}, confirm=confirm),
        "older states": keeper.drop_all_but_last_state,
        "events": lambda: events.write_epoch(EpochRow(2, 1e-3, 0.5, 0.4, 0.9, 0.8, 1.5)),
        "more events": lambda: unopened.write_epoch(EpochRow(2, 1e-3, 0.5, 0.4, 0.9, 0.8, 1.5)),
    }.items():
        try:
            save()
            print("SAVED", name, flush=True)
        except LockLost as error:
            print("refused", name, error.problem, flush=True)
"""


def test_a_holder_that_was_frozen_and_taken_over_saves_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine, a filesystem without locks: the trainer is stopped, this one continues, the first is woken."""

    def none(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", none)
    frozen = subprocess.Popen(
        [sys.executable, "-c", FROZEN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert frozen.stdout is not None
        assert frozen.stdout.readline() == "saved\n"
        frozen.send_signal(signal.SIGSTOP)
        successor = CheckpointKeeper(tmp_path / "progress", {"seed": 1}, every=60)
        successor._held = FolderLock(tmp_path / "progress", silence=0.5)  # not half a minute
        with successor as kept:
            assert kept.load_latest() is not None
            kept.save(state(2))
            before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
            frozen.send_signal(signal.SIGCONT)
            said, _ = frozen.communicate("go\n", timeout=60)
            kept.confirm_lock()
            after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    finally:
        frozen.kill()
        frozen.wait()
    lines = said.splitlines()
    names = ["state", "reason to give up", "history", "model", "older states", "events", "more events"]
    assert [line.partition(f" {tmp_path}")[0] for line in lines] == [f"refused {name}" for name in names], said
    assert all(f"process {frozen.pid} on elsewhere held it before" in line for line in lines)
    assert before == after
