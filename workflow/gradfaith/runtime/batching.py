"""How many rows go through a model at once: a fixed number, or as many as the device's memory holds."""

from collections.abc import Callable, Hashable, Iterator
from typing import Literal, TypeVar

import torch

Most = int | Literal["auto"]
Answer = TypeVar("Answer")


def most(said: str | int) -> Most:
    """A chunk as Snakemake hands it on."""
    return "auto" if said == "auto" else int(said)


class Chunk:
    """How many rows go through a model at once; "auto" starts large and is halved, for good, whenever memory runs out.

    Below `least` it is not halved: the error goes on to whoever holds the rest of the memory, and can give some back.
    """

    def __init__(self, most: Most, device: torch.device, *, least: int = 1, times: int = 1) -> None:
        self.auto, self.least = most == "auto", least
        self.rows: int = times * ((256 if device.type == "cuda" else 32) if most == "auto" else int(most))
        self._most, self._device, self._kinds = most, device, dict[Hashable, Chunk]()

    def of(self, kind: Hashable, *, least: int | None = None, times: int = 1) -> "Chunk":
        """The chunk of one kind of rows, which weigh alike; it is halved alone. `times` as many where they are that much smaller."""
        if kind not in self._kinds:
            lowest = self.least if least is None else least
            self._kinds[kind] = Chunk(self._most, self._device, least=lowest, times=times)
        return self._kinds[kind]

    def pieces(self, count: int, work: Callable[[slice], Answer]) -> Iterator[tuple[slice, Answer]]:
        """`work` done on all rows, piece by piece."""
        start = 0
        while start < count:
            rows = slice(start, min(start + self.rows, count))
            try:
                done = work(rows)
            except RuntimeError as error:
                if not (self.auto and rows.stop - rows.start > self.least and out_of_memory(error)):
                    raise
                done = None
            if done is None:  # outside the handler: the error's frames would keep what did not fit
                self.rows = max(self.least, (rows.stop - rows.start) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                print(f"out of memory: {self.rows} rows at once from now on", flush=True)  # noqa: T201 - the job's log
                continue
            yield rows, done
            start = rows.stop


def out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it, the others only words."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )
