"""Run a model on many rows in batches: of a fixed size, or as large as the device's memory allows.

    batch = AdaptiveBatch("auto", device)
    for rows, result in batch.process(len(images), lambda rows: model(images[rows])): ...

"auto" starts large and halves the batch, for good, whenever the device runs out of memory.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Literal, TypeVar

import torch

BatchLimit = int | Literal["auto"]
T = TypeVar("T")


class AdaptiveBatch:
    """The number of rows that go through a model at once; "auto" is halved, for good, when memory runs out.

    Below `minimum` rows it is not halved: the error is raised to the caller, who may be able to free memory.
    `scale` multiplies the starting size of "auto" and a fixed size alike, for rows that need that much less
    memory.
    """

    def __init__(self, limit: BatchLimit, device: torch.device, *, minimum: int = 1, scale: int = 1) -> None:
        self.auto, self.minimum = limit == "auto", minimum
        self.rows: int = scale * ((256 if device.type == "cuda" else 32) if limit == "auto" else int(limit))
        self._limit, self._device, self._by_kind = limit, device, dict[Hashable, AdaptiveBatch]()

    def for_kind(self, kind: Hashable, *, minimum: int | None = None, scale: int = 1) -> "AdaptiveBatch":
        """Return the batch of one kind of rows, which need about the same memory each; it is halved alone.

        `minimum` is this batch's own if it is None; `scale` times as many rows where they are that much
        smaller.
        """
        if kind not in self._by_kind:
            lowest = self.minimum if minimum is None else minimum
            self._by_kind[kind] = AdaptiveBatch(self._limit, self._device, minimum=lowest, scale=scale)
        return self._by_kind[kind]

    def process(self, count: int, work: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
        """Yield each batch of rows, as a slice of range(count), with what `work` returns for it."""
        start = 0
        while start < count:
            rows = slice(start, min(start + self.rows, count))
            try:
                done = work(rows)
            except RuntimeError as error:
                if not (self.auto and rows.stop - rows.start > self.minimum and is_out_of_memory(error)):
                    raise
                done = None
            if done is None:  # outside the handler: the error's frames would keep what did not fit
                self.rows = max(self.minimum, (rows.stop - rows.start) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                print(f"out of memory: {self.rows} rows at once from now on", flush=True)  # noqa: T201 - the job's log
                continue
            yield rows, done
            start = rows.stop


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that memory ran out: CUDA has a class for it, other devices only words."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "can't allocate memory")
    )
