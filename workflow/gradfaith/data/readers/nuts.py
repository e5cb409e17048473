"""Compute a set of nut-like objects with four kinds of defects and exact masks, in the layout of MVTec AD.

    train/good/<n>    sound nuts                     test/good/<n>    more sound nuts
    test/<defect>/<n>                                ground_truth/<defect>/<n>_mask.png is the region "evidence"

It stands in for MVTec AD hazelnut (data/readers/mvtec.py), which may not be redistributed: the same five classes, and about
the same numbers by default. data/phantom/nuts.py draws the images. Deterministic per (options, image).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from gradfaith.data.phantom.nuts import DEFECTS, draw_nut
from gradfaith.data.readers.contract import SOUND, DecodedImage, ReaderOptions, Record


class Options(ReaderOptions):
    """The size of the set and of its images."""

    size: int = Field(96, ge=32, le=1024, description="width and height in pixels")
    good: int = Field(40, ge=1, le=99_999, description="sound nuts in test/")
    train_good: int = Field(40, ge=0, le=99_999, description="sound nuts in train/")
    defects: int = Field(18, ge=1, le=99_999, description="nuts with each of the four kinds of defects")
    seed: int = Field(0, ge=0, description="which nuts are drawn")


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:  # noqa: ARG001 - a reader's signature
    """Return no file: the images are computed."""
    return {}


def index(raw: Path | None, options: Options) -> Iterator[Record]:  # noqa: ARG001 - there is no raw folder
    """Yield one record per nut; every nut is its own group."""
    folders = {f"train/{SOUND}": options.train_good, f"test/{SOUND}": options.good}
    folders |= {f"test/{defect}": options.defects for defect in DEFECTS}
    for folder, count in folders.items():
        label = folder.partition("/")[2]
        for number in range(count):
            name = f"{folder}/{number:03d}.png"
            evidence = "none" if label == SOUND else "mask"
            yield Record(name, name, label, name, "photograph", evidence)  # type: ignore[arg-type]


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001
    """Draw one nut; numbers run over all classes, so no nut is drawn twice."""
    folder, _, number = record.file.removesuffix(".png").rpartition("/")
    folders = [f"train/{SOUND}", f"test/{SOUND}", *(f"test/{defect}" for defect in DEFECTS)]
    defect = next((name for name in DEFECTS if name == record.label), None)
    drawn = draw_nut(options.seed, len(folders) * int(number) + folders.index(folder), options.size, defect)
    return DecodedImage(drawn.pixels, {"evidence": drawn.defect} if defect else {})
