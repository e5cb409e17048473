"""Compute a miniature of FunnyBirds: birds of five parts, with part maps and images without parts.

    train/<class>/<n>    images to train on          test/<class>/<n>    images that are also drawn without their parts

It stands in for FunnyBirds (data/readers/funnybirds.py) with six classes, drawn by data/phantom/birds.py. Part maps number the
parts from 1, and the objects behind the bird from FIRST_SURROUNDING. Deterministic per (options, image).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from gradfaith.data import part_classes
from gradfaith.data.phantom.birds import CLASSES, OBJECTS, PARTS, BirdImage, draw_bird
from gradfaith.data.readers.contract import DecodedImage, PartSet, Pixels, ReaderOptions, Record, Renders
from gradfaith.vocabulary import FIRST_SURROUNDING

NAMES = tuple(f"bird-{number:02d}" for number in range(len(CLASSES)))
KINDS = dict(zip(NAMES, CLASSES, strict=True))


class Options(ReaderOptions):
    """The size of the set and of its images."""

    size: int = Field(64, ge=32, le=512, description="width and height in pixels")
    train: int = Field(30, ge=1, le=99_999, description="training images of each class")
    test: int = Field(
        6, ge=1, le=9_999, description="test images of each class, which are also drawn without their parts"
    )
    seed: int = Field(0, ge=0, description="which birds are drawn")


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:  # noqa: ARG001 - a reader's signature
    """Return no file: the images are computed."""
    return {}


def index(raw: Path | None, options: Options) -> Iterator[Record]:  # noqa: ARG001 - there is no raw folder
    """Yield one record per bird; numbers run over all classes, so no scene is drawn twice."""
    number = 0
    for folder, count in (("train", options.train), ("test", options.test)):
        for place, label in enumerate(NAMES):
            for _ in range(count):
                name = f"{folder}/{place}/{number:06d}"
                yield Record(name, f"{name}.png", label, name, "photograph", "parts")
                number += 1


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001
    """Draw one bird; a test image also without its parts, and without each object behind it, when they are asked for."""
    folder, place, number = record.file.removesuffix(".png").split("/")
    kinds, draw = CLASSES[int(place)], partial(draw_bird, options.seed, int(number), options.size, CLASSES[int(place)])
    drawn = draw()
    parts = part_numbers(drawn)
    without: dict[PartSet, partial[Pixels]] = {
        removed: partial(_pixels, draw, removed) for removed in part_classes.part_sets(len(PARTS))
    }
    without |= {(FIRST_SURROUNDING + row,): partial(_pixels, draw, (), row + 1) for row in range(OBJECTS)}
    others = [other for other in CLASSES if other != kinds]
    renders = Renders(
        without,
        part_classes.sufficient_removals(kinds, others),
        part_classes.contrast_classes(record.label, KINDS),
    )
    evidence = {"evidence": (parts > 0) & (parts < FIRST_SURROUNDING)}
    return DecodedImage(drawn.pixels, evidence, parts, renders if folder == "test" else None)


def part_numbers(drawn: BirdImage) -> Pixels:  # (h, w)
    """Return parts and objects in one map of numbers."""
    return np.where(drawn.objects > 0, FIRST_SURROUNDING - 1 + drawn.objects, drawn.parts).astype(np.uint8)


def _pixels(draw: "partial[BirdImage]", without: PartSet, without_object: int = 0) -> Pixels:
    return draw(without, without_object).pixels
