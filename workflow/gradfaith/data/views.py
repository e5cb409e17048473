"""What the inference of groups remembers of an image: thumbnails in bytes, 38 kB an image, so that 20 000 fit.

at64, at128   the middle square, 64 and 128 pixels across
lines         the couch's (couch.py)
lungs         the box round the lungs, stretched to one size; black where there are none
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradfaith.data import couch, lungs
from gradfaith.data.grouping import Cue

LUNG_BOX = (96, 72)


@dataclass(frozen=True)
class Views:
    """Of one image, or of many: then every array has a first axis more."""

    at64: NDArray[np.uint8]
    at128: NDArray[np.uint8]
    lines: NDArray[np.uint8]
    lungs: NDArray[np.uint8]
    size: NDArray[np.int64]  # width and height of the picture

    def __len__(self) -> int:
        return len(self.size)


def look(pixels: NDArray[np.uint8], cues: Sequence[Cue]) -> Views:  # (h, w)
    """One image: the middle square at 256 px and smaller."""
    height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    image = np.asarray(square.resize((couch.SIDE, couch.SIDE), Image.Resampling.BILINEAR))
    framed = np.zeros(LUNG_BOX[::-1], dtype=np.uint8)
    if "lungs" in cues and (air := lungs.lungs(image)).any():
        rows, columns = np.flatnonzero(air.any(axis=1)), np.flatnonzero(air.any(axis=0))
        framed = _small(
            image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], LUNG_BOX, Image.Resampling.BILINEAR
        )
    drawn = couch.lines(image) if "couch" in cues else np.zeros((2, 1, 1), dtype=np.uint8)
    return Views(_small(image, (64, 64)), _small(image, (128, 128)), drawn, framed, np.array((width, height)))


def gathered(views: Iterable[Views], most: int) -> Views:
    """Single views as one; room for `most` is asked for at once, and only what is filled is taken."""
    names = [field.name for field in fields(Views)]
    held: dict[str, NDArray[Any]] = {}
    row = -1
    for row, view in enumerate(views):
        for name in names:
            array = getattr(view, name)
            held.setdefault(name, np.empty((most, *array.shape), array.dtype))[row] = array
    return Views(**{name: array[: row + 1] for name, array in held.items()})


def _small(image: NDArray[np.uint8], size: tuple[int, int], how: Any = Image.Resampling.BOX) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize(size, how))
