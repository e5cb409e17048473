"""Compute the dataset of shapes: six classes of geometric shapes on cluttered backgrounds, with exact evidence.

After the synthetic dataset of "How to evaluate and refine your CAM": circles, squares and triangles, filled and hollow, with
random colour, angle, place and one of three size ranges, on backgrounds that do not depend on the class    [domeniconi2026]

Where it differs, on purpose: backgrounds are drawn by a program (data/shapes/clutter.py), not cut from published images;
each background is a group, so no background is in two parts of a split; and image and evidence come from the same pixels.
In the paper's code they come from two transforms, and the backgrounds of the test part are also in the training part.

Every background has equally many images of each class. `lesion_kind` in the manifest holds the size range, `lesion_px` the
pixels of evidence, `lesions` the number of shapes. Deterministic per (options, image); about 5 ms per image of 224 pixels.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
from pydantic import Field, model_validator
from scipy import ndimage

from gradfaith.data.readers.contract import BoolMask, DecodedImage, ReaderOptions, Record
from gradfaith.data.shapes.outlines import Form
from gradfaith.data.shapes.scene import SceneSpec, draw_scene
from gradfaith.errors import DatasetInvalid
from gradfaith.vocabulary import LESION_SIZES, LesionProperties

FILLING = {"filled": False, "hollow": True}
CLASSES: dict[str, tuple[Form, bool]] = {
    f"{filling}-{form}": (form, hollow) for form in get_args(Form) for filling, hollow in FILLING.items()
}
SMALLEST_PX = 5
_FILE = re.compile(r"shapes/(\d{4,})/(\d+)")
Share = Annotated[float, Field(gt=0, le=0.45)]
Range = tuple[Share, Share]


class Options(ReaderOptions):
    """How many images there are, and how hard they are."""

    size: int = Field(224, ge=32, le=512, description="width and height in pixels")
    backgrounds: int = Field(120, ge=1, le=9999, description="backgrounds; each is a group")
    images_per_class: int = Field(
        3, ge=1, le=99, description="images of each of the six classes on each background; 3: one of each size range"
    )
    small: Range = Field((0.078, 0.098), description="smallest and largest size, as shares of the image's width")
    medium: Range = Field((0.156, 0.195), description="as `small`")
    large: Range = Field((0.312, 0.391), description="as `small`")
    shapes: int = Field(1, ge=1, le=3, description="shapes in each image, all of its class")
    clutter: float = Field(
        1.0, ge=0, le=1, description="share of the 420 strokes and leaves of a background that are drawn"
    )
    turn: float = Field(180, ge=0, le=180, description="largest rotation of a shape, in degrees")
    noise: tuple[Annotated[float, Field(ge=0, le=0.9)], Annotated[float, Field(ge=0, le=0.9)]] = Field(
        (0.2, 0.7), description="lowest and highest share of white noise in a background"
    )
    contrast: float = Field(
        50, ge=0, le=120, description="smallest distance of a shape's colour from the mean behind it, in grey values"
    )
    texture: bool = Field(False, description="paint shapes in bands of two colours")
    occlusion: float = Field(
        0.0, ge=0, le=0.5, description="width of a bar that covers part of each shape, as a share of its size"
    )
    boxes: bool = Field(False, description="evidence is the box around each connected part of the shapes' pixels")
    seed: int = Field(0, ge=0, description="which images are drawn")

    @model_validator(mode="after")
    def _ordered(self) -> "Options":
        for name in (*LESION_SIZES, "noise"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [smallest, largest], found [{low:g}, {high:g}]")
        smallest = self.size * min(getattr(self, name)[0] for name in LESION_SIZES)
        if smallest < SMALLEST_PX:
            raise ValueError(
                f"the smallest shape has {smallest:.1f} pixels; a shape needs {SMALLEST_PX} to have its form"
            )
        return self


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:  # noqa: ARG001 - a reader's signature
    """Return no file: the images are computed."""
    return {}


def index(raw: Path | None, options: Options) -> Iterator[Record]:  # noqa: ARG001 - there is no raw folder
    """Yield one record per image, background by background."""
    for background in range(options.backgrounds):
        for number in range(len(CLASSES) * options.images_per_class):
            label, size = _content(background, number)
            about = LesionProperties(size, math.nan, "", label.partition("-")[0], "", "")
            yield Record(
                image_id=f"{background:04d}-{number:02d}",
                file=f"shapes/{background:04d}/{number}",
                label=label,
                group=f"background-{background:04d}",
                group_kind="background",
                evidence="box" if options.boxes else "mask",
                lesions=(about,) * options.shapes,
            )


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001
    """Draw one image."""
    pixels, evidence = draw_scene(scene_spec(options, record))
    return DecodedImage(pixels, {"evidence": fill_boxes(evidence) if options.boxes else evidence})


def fill_boxes(mask: BoolMask) -> BoolMask:  # (h, w)
    """Return the pixels of the boxes around the connected parts of a mask."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    boxes = np.zeros_like(mask)
    for box in ndimage.find_objects(parts):
        boxes[box] = True
    return boxes


def scene_spec(options: Options, record: Record) -> SceneSpec:
    """Return what the image of a record shows."""
    found = _FILE.fullmatch(record.file)
    background, number = (int(found[1]), int(found[2])) if found else (-1, -1)
    if not found or background >= options.backgrounds or number >= len(CLASSES) * options.images_per_class:
        raise DatasetInvalid(
            problem=f'"{record.file}" is not an image of this dataset.',
            reason=f"It has {options.backgrounds} backgrounds with {len(CLASSES) * options.images_per_class} images each.",
            fix="Run `snakemake` with `--forcerun index`, which makes the manifest (the list of images) again with these options.",
        )
    label, size = _content(background, number)
    form, hollow = CLASSES[label]
    shared = options.model_dump(
        include={"seed", "shapes", "turn", "clutter", "noise", "contrast", "texture", "occlusion"}
    )
    sizes = getattr(options, size)
    return SceneSpec(
        background=background, number=number, form=form, hollow=hollow, sizes=sizes, side=options.size, **shared
    )


def _content(background: int, number: int) -> tuple[str, str]:
    """Return class and size range of an image: over three images of a class on a background, or three backgrounds, each size once."""
    turn, place = divmod(number, len(CLASSES))
    return list(CLASSES)[place], LESION_SIZES[(background + turn + place) % len(LESION_SIZES)]
