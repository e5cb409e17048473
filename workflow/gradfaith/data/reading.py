"""Reads the images of a dataset in several threads, in order, and never many at a time.

    for record, found in each(reader, raw, options, wanted, work, threads): ...

Decoding releases the interpreter's lock, so threads are enough. `work` is done in the thread as well, so that an image
is dropped as soon as what is wanted of it is known: memory is bounded by AHEAD images per thread, whatever the dataset's
size. An image that cannot be read comes as its UnreadableImage: the caller decides, and nothing is dropped in silence.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from gradfaith.data.readers.contract import Picture, Reader, Record
from gradfaith.errors import UnreadableImage

T = TypeVar("T")
AHEAD = 4  # images under way per thread


def each(
    reader: Reader,
    raw: Path | None,
    options: Any,
    wanted: Iterable[tuple[Record, str | None]],
    work: Callable[[Record, Picture], T],
    threads: int,
) -> Iterator[tuple[Record, T | UnreadableImage]]:
    """What `work` makes of every record's picture, or why there is none; `wanted` holds records and their parts."""

    def one(record: Record, part: str | None) -> T | UnreadableImage:
        try:
            picture = reader.read(raw, options, record, part)
        except UnreadableImage as error:
            return error
        return work(record, picture)

    with ThreadPoolExecutor(threads) as pool:
        under_way: deque[tuple[Record, Future[T | UnreadableImage]]] = deque()
        try:
            for record, part in wanted:
                under_way.append((record, pool.submit(one, record, part)))
                if len(under_way) >= AHEAD * threads:
                    first, future = under_way.popleft()
                    yield first, future.result()
            while under_way:
                first, future = under_way.popleft()
                yield first, future.result()
        finally:  # a caller that stops half-way waits for what is under way, and for no more
            for _, future in under_way:
                future.cancel()
