"""A warning: SIGTERM, SIGUSR1, SIGINT or SIGHUP asks a training to save once more and to end.

Only a flag is set when the signal comes; the loop looks at it between two batches, where its state is whole. SIGTERM is
what `scancel`, a time limit and a preemption send. For a warning some time before a limit ask `sbatch --signal` for SIGTERM
too: the Snakemake between the scheduler and the trainer waits for its job then, and dies of SIGUSR1 at once. That one is
for whoever sends it to the trainer itself. SIGINT is Ctrl-C, and after any warning it ends the job at once; SIGHUP comes when
a terminal is closed or a connection lost. One that is ignored (`nohup`, a job in the background) stays so.

The states of a training in its progress folder: the last two, each a safetensors file whose name holds its digest.

    state-<number>-<first half of the SHA-256>.safetensors      tensors, and what else there is as JSON in its metadata

A state is written under another name, forced to disk and renamed, so a kill at any moment leaves the one before. One that
was torn all the same (a disk that lied, a copy cut short) does not match its name: that is said, and the older one is
taken. A whole one of another training is refused: what decides the weights stands in every state. Nothing is unpickled.

The state of a finished training stays until its model is known to be accepted (`job.accepted`): between the last file that a
trainer writes and Snakemake's record of it lie the end of the process and the wait for the filesystem, and who is killed
there would train again from the start. A finished one of another training is worth nothing to anybody: it is dropped.
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
from gradfaith.runtime.folder_lock import Held, removed
from gradfaith.storage import atomic

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


class Warned:
    """The signal that came, if one did."""

    name = ""

    def hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name


@contextmanager
def listening(asked: bool) -> Iterator[Warned]:
    """Hear the warnings while the block lasts, if there is a state to keep; afterwards they do again what they did."""
    warned = Warned()
    heard = [number for number in WARNINGS if asked and signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, warned.hear) for number in heard}
    try:
        yield warned
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


FORMAT_VERSION = 1
KEPT = 2
GIVEN_UP = "given up"  # the note of a state that says why its training came to nothing
NAME = re.compile(r"state-(\d{6})-([0-9a-f]{32})\.safetensors")
Decides = Mapping[str, Any]  # what decides the weights, as plain values


@dataclass(frozen=True)
class State:
    """A training at one moment."""

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]  # `over`: the training is finished, and only its model has to be written


class Keeper:
    """Holds a progress folder while a training lasts: finds its last state and keeps new ones."""

    def __init__(self, folder: Path, decides: Decides, *, every: float) -> None:
        self.folder, self._decides, self._every = folder, json.loads(json.dumps(decides)), every
        self._held, self._last = Held(folder), time.monotonic()

    def __enter__(self) -> Self:
        self._held.__enter__()
        for folder in (
            self.folder,
            self.folder.parent,
        ):  # drafts of a trainer that was killed as it wrote states, or the model
            for draft in folder.glob(".*.tmp"):
                draft.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing is kept of a model taken as it is, or of a training refused at its start.
        empty = set(self.folder.glob("*")) <= {self._held.path}
        self._held.__exit__(kind, error, trace)
        if empty:
            removed(self.folder)

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._last >= self._every

    def save(self, state: State) -> Path:
        """Keep a state, and of the older ones the last."""
        metadata = {"format": FORMAT_VERSION, "decides": self._decides, "notes": dict(state.notes)}
        content = serialise(dict(state.tensors), metadata={"gradfaith": json.dumps(metadata)})
        number = max((_number(path) for path in self._states()), default=0) + 1
        path = self.folder / f"state-{number:06d}-{_digest(content)}.safetensors"
        with atomic.replacing(path) as draft:
            draft.write_bytes(content)
        self._drop(self._states()[:-KEPT])
        self._last = time.monotonic()
        return path

    def latest(self) -> State | None:
        """The newest state that is whole, or none; one of another training is refused, unless that is finished."""
        found = self._states()
        for path in sorted(set(self.folder.iterdir()) - {*found, self._held.path}):
            _say(f"{path} is not named as a state is, and is not read")
        for path in reversed(found):
            content = path.read_bytes()
            if _digest(content) == path.stem.split("-")[2]:
                return self._opened(path, content)
            _say(f"{path} is torn, its SHA-256 is not the one in its name: deleted; an older state is looked for")
            path.unlink()
        if found:
            _say(f"no state in {self.folder} was whole: training begins anew")
        return None

    def give_up(self, found: str) -> None:
        """This training comes to nothing, and would again: of its states only that is kept. Another training may begin anew."""
        self.save(State({}, {"over": True, GIVEN_UP: found}))
        self.written()

    def written(self) -> None:
        """The model is written: the last state is enough to write it again, should nobody have seen it."""
        self._drop(self._states()[:-1])

    def _drop(self, states: list[Path]) -> None:
        for path in states:
            path.unlink()

    def _states(self) -> list[Path]:
        """In the order they were written."""
        return sorted((path for path in self.folder.iterdir() if NAME.fullmatch(path.name)), key=_number)

    def _opened(self, path: Path, content: bytes) -> State | None:
        try:
            found = json.loads(_metadata(content)["gradfaith"])
            format_, decides, notes = found["format"], found["decides"], dict(found["notes"])
            tensors = parse(content)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise self.foreign(f"{path} is no state of a training ({type(error).__name__}: {error}).") from error
        if format_ != FORMAT_VERSION:
            raise self.foreign(f"{path} is a state of format {format_}, and this is {FORMAT_VERSION}.")
        if decides != self._decides:
            differing = _differing(decides, self._decides)
            if not notes.get("over", False):
                raise self.foreign(f"{path} is a state of another training: {differing}.")
            _say(f"{path.name} is of another training, which is finished ({differing}): dropped, training begins anew")
            self._drop(self._states())
            return None
        _say(f"continuing from {path.name}")
        return State(tensors, notes)

    def foreign(self, found: str) -> ForeignProgress:
        return ForeignProgress(
            found=found,
            why="Continued from there, the weights would be those of neither recipe.",
            then=f"Delete {self.folder} to train anew, or put back what was changed to go on.",
        )


def _metadata(content: bytes) -> dict[str, str]:
    """What a safetensors file says beside its tensors; the library reads it from files only."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return found


def _differing(there: Any, here: Any, path: str = "") -> str:
    """The keys that differ, with both values."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return (
            f"{path} was {json.dumps(there, sort_keys=True)} and is {json.dumps(here, sort_keys=True)}"
            if there != here
            else ""
        )
    keys = sorted(set(there) | set(here))
    parts = [_differing(there.get(key), here.get(key), f"{path}.{key}".lstrip(".")) for key in keys]
    return "; ".join(part for part in parts if part)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _number(path: Path) -> int:
    return int(path.name.split("-")[1])


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201 - a job's standard output is its log
