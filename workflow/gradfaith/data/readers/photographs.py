"""Read three photographs of scikit-image (a cup, a cat, a rocket) in seeded square cuts.

    cut k of a photograph: a square of 75 to 100 % of its shorter side, at a place drawn from (seed, photograph, k)

They need no download, and a network trained on ImageNet knows their classes. So a study can show real maps of a network that
has learned something, on any machine. Cuts of one photograph are one group. Three photographs are an example, not a sample:
intervals over three groups say little, and there is no evidence mask. Cut 0 is the largest square in the middle.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gradfaith import rng
from gradfaith.data.readers.contract import DecodedImage, ReaderOptions, Record

PHOTOGRAPHS = {"cup": "coffee", "cat": "chelsea", "rocket": "rocket"}  # class -> its name in skimage.data


class Options(ReaderOptions):
    """How many cuts are made."""

    cuts: int = Field(8, ge=1, le=1000, description="square cuts of each photograph")
    seed: int = Field(0, ge=0, description="which cuts are drawn")


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:  # noqa: ARG001 - a reader's signature
    """Return no file: the photographs are part of scikit-image."""
    return {}


def index(raw: Path | None, options: Options) -> Iterator[Record]:  # noqa: ARG001 - there is no raw folder
    """Yield one record per cut."""
    for label, name in PHOTOGRAPHS.items():
        for cut in range(options.cuts):
            yield Record(f"{name}-{cut}", f"photographs/{label}/{cut}", label, name, "photograph", "none")


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001
    """Cut one square out of its photograph."""
    photograph, cut = _photograph(record.group), int(record.file.rpartition("/")[2])
    height, width = photograph.shape[:2]
    side, place = min(height, width), np.array([0.5, 0.5])
    if cut:
        stream = rng.generator(options.seed, "photographs", record.group, cut)
        side, place = round(side * float(stream.uniform(0.75, 1))), stream.random(2)
    top, left = (round((length - side) * at) for length, at in zip((height, width), place, strict=True))
    return DecodedImage(photograph[top : top + side, left : left + side].copy())


@lru_cache(maxsize=len(PHOTOGRAPHS))
def _photograph(name: str) -> NDArray[np.uint8]:  # (h, w, 3)
    from skimage import data

    pixels: NDArray[np.uint8] = getattr(data, name)()
    return pixels
