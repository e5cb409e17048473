"""Save and load training checkpoints, and catch the signals on which a training saves once more and stops.

A progress folder contains the last two states of a training, each a safetensors file whose name contains its digest:

    state-<number>-<first half of the SHA-256>.safetensors      tensors; all other values as JSON in the metadata

A state is written under a temporary name, forced to disk and renamed, so a kill at any moment leaves the older state. If a
state is damaged nevertheless (a faulty disk, an incomplete copy), it does not match its name: this is logged, and the older
state is used. Every state contains the identity of its training: everything that decides the weights. An intact state of
another training is refused, or dropped if that training had finished. Nothing is unpickled.

The state of a finished training is kept until Snakemake has accepted its model (`job.discard_training_state`). After the last
file is written, the process ends and Snakemake waits for the filesystem; a job that is killed in this time would otherwise
train from the start.

SIGTERM, SIGUSR1, SIGINT and SIGHUP only set a flag. The loop reads it between two batches, where the state is complete.
`scancel`, a time limit and a preemption send SIGTERM. For a warning before a time limit, use `sbatch --signal` with SIGTERM
too: the Snakemake process between scheduler and trainer then waits for its job, while SIGUSR1 would kill it. SIGUSR1 is for
users who signal the trainer itself. SIGINT is Ctrl-C, and after any other signal it ends the job at once.
SIGHUP is sent when a terminal is closed or a connection is lost. A signal that is ignored (`nohup`) stays ignored.
"""

import hashlib
import json
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from gradfaith.errors import ForeignProgress
from gradfaith.runtime.folder_lock import FolderLock, remove_folder
from gradfaith.storage import atomic

WARNING_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


class SignalListener:
    """Stores the name of the first received signal; "" before."""

    name = ""

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal (the signature is that of `signal.signal`)."""
        if number == signal.SIGINT and self.name:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name


@contextmanager
def listen_for_signals(enabled: bool) -> Iterator[SignalListener]:
    """Catch the warning signals inside the block, if enabled; restore their handlers afterwards."""
    listener = SignalListener()
    caught = [number for number in WARNING_SIGNALS if enabled and signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, listener.receive) for number in caught}
    try:
        yield listener
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


FORMAT_VERSION = 1
STATES_KEPT = 2
GIVEN_UP = "given up"  # the note of a state with the reason why its training cannot succeed
STATE_NAME = re.compile(r"state-(\d{6})-([0-9a-f]{32})\.safetensors")
TrainingIdentity = Mapping[str, Any]  # everything that decides the weights, as plain values


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next step of a training depends on."""

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]  # JSON values; `over`: the training is finished, and only its model must be written


class CheckpointKeeper:
    """Locks a progress folder while a training runs, loads its latest state and saves new ones.

    `identity`: everything that decides the weights. `every`: the seconds between two saves.
    """

    def __init__(self, folder: Path, identity: TrainingIdentity, *, every: float) -> None:
        self.folder, self._identity, self._every = folder, json.loads(json.dumps(identity)), every
        self._held, self._last = FolderLock(folder), time.monotonic()

    def __enter__(self) -> Self:
        self._held.__enter__()
        for folder in (
            self.folder,
            self.folder.parent,
        ):  # temporary files of a trainer that was killed while it wrote a state or the model
            for draft in folder.glob(".*.tmp"):
                draft.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A model without training, or a training refused at its start, leaves no state.
        empty = set(self.folder.glob("*")) <= {self._held.path}
        self._held.__exit__(kind, error, trace)
        if empty:
            remove_folder(self.folder)

    @property
    def save_is_due(self) -> bool:
        """Return whether it is time to save again."""
        return time.monotonic() - self._last >= self._every

    def save(self, state: TrainingState) -> Path:
        """Write a state and delete all but the last STATES_KEPT; return its path."""
        metadata = {"format": FORMAT_VERSION, "decides": self._identity, "notes": dict(state.notes)}
        content = serialise(dict(state.tensors), metadata={"gradfaith": json.dumps(metadata)})
        number = max((_number(path) for path in self._state_paths()), default=0) + 1
        path = self.folder / f"state-{number:06d}-{_digest(content)}.safetensors"
        with atomic.replacing(path) as draft:
            draft.write_bytes(content)
            self.confirm_lock()
        self._delete(self._state_paths()[:-STATES_KEPT])
        self._last = time.monotonic()
        return path

    def confirm_lock(self) -> None:
        """Raise LockLost if another process has taken this training over; called before each file is renamed."""
        self._held.confirm()

    def load_latest(self) -> TrainingState | None:
        """Return the newest intact state, or None; refuse one of another training, unless that is finished."""
        state_paths = self._state_paths()
        for path in sorted(set(self.folder.iterdir()) - {*state_paths, self._held.path}):
            _log(f"{path} is ignored: its name is not that of a training state")
        for path in reversed(state_paths):
            content = path.read_bytes()
            if _digest(content) == path.stem.split("-")[2]:
                return self._parse_state(path, content)
            _log(
                f"{path} is damaged (its SHA-256 differs from its name) and was deleted; an older state is used if there is one"
            )
            path.unlink()
        if state_paths:
            _log(f"no state in {self.folder} is intact: training starts from the beginning")
        return None

    def give_up(self, problem: str) -> None:
        """Record that this training cannot succeed, so that it is not repeated; drop all other states."""
        self.save(TrainingState({}, {"over": True, GIVEN_UP: problem}))
        self.drop_all_but_last_state()

    def drop_all_but_last_state(self) -> None:
        """Delete all states but the last when the model is written; the last is enough to write the model again."""
        self.confirm_lock()
        self._delete(self._state_paths()[:-1])

    def _delete(self, states: list[Path]) -> None:
        for path in states:
            path.unlink()

    def _state_paths(self) -> list[Path]:
        """Return the state files in the order of writing."""
        return sorted((path for path in self.folder.iterdir() if STATE_NAME.fullmatch(path.name)), key=_number)

    def _parse_state(self, path: Path, content: bytes) -> TrainingState | None:
        try:
            metadata = json.loads(_read_metadata(content)["gradfaith"])
            format_, identity, notes = metadata["format"], metadata["decides"], dict(metadata["notes"])
            tensors = parse(content)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise self.progress_error(f"{path} is not a training state ({type(error).__name__}: {error}).") from error
        if format_ != FORMAT_VERSION:
            raise self.progress_error(f"{path} has format {format_}; this version of GradFaith reads {FORMAT_VERSION}.")
        if identity != self._identity:
            differing = _describe_differences(identity, self._identity)
            if not notes.get("over", False):
                raise self.progress_error(f"{path} is a state of another training: {differing}.")
            _log(
                f"{path.name} is of another, finished training ({differing}): dropped, training starts from the beginning"
            )
            self._delete(self._state_paths())
            return None
        _log(f"resuming from {path.name}")
        return TrainingState(tensors, notes)

    def progress_error(self, problem: str) -> ForeignProgress:
        """Return the error for a state in this folder from which training cannot resume."""
        return ForeignProgress(
            problem=problem,
            reason="If a training resumed from the state of another training, its weights would belong to neither of the two.",
            fix=f"Delete {self.folder} to train from the beginning, or undo your change to the study to resume.",
        )


def _read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file given as bytes; the library reads metadata only from files."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return metadata


def _describe_differences(there: Any, here: Any, path: str = "") -> str:
    """Describe the keys that differ, with both values."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return (
            f"{path} was {json.dumps(there, sort_keys=True)} and is {json.dumps(here, sort_keys=True)}"
            if there != here
            else ""
        )
    keys = sorted(set(there) | set(here))
    parts = [_describe_differences(there.get(key), here.get(key), f"{path}.{key}".lstrip(".")) for key in keys]
    return "; ".join(part for part in parts if part)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _number(path: Path) -> int:
    return int(path.name.split("-")[1])


def _log(message: str) -> None:
    print(message, flush=True)  # noqa: T201 - a job's standard output is its log
