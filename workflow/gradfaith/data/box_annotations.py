"""Convert bounding boxes in the XML format of PASCAL VOC and ImageNet into boxes.csv, which the reader `folder` reads.

    <annotation> ... <source><database>The VOC2007 Database</database></source>
      <object><name>dog</name><bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox></object>

An XML file belongs to the image of the same name up to the suffix. In PASCAL VOC the first pixel is 1 and the last pixel is
part of the box [everingham2010]; in other databases, among them ImageNet, the numbers are edges counted from 0. If any object
of any file has the name of a class folder, only objects of an image's own class count. Otherwise all do: the files of
ImageNet name its numbers for classes, and all objects of a file are of one class.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

from gradfaith.errors import CannotWrite, DatasetInvalid
from gradfaith.storage.atomic import replacing

COLUMNS = ("image", "x", "y", "width", "height")
FIRST_PIXEL_IS_ONE = "voc"  # in the name of the database
CORNERS = ("xmin", "ymin", "xmax", "ymax")
WHY = "An annotation states the corners of each object in pixels, as PASCAL VOC and ImageNet do."


class AnnotatedBox(NamedTuple):
    """One object of an annotation: its name, left and top edge from 0, and size."""

    name: str
    x: float
    y: float
    width: float
    height: float


def write_boxes(annotations: Path, images: Sequence[str], target: Path) -> int:
    """Write boxes.csv of the images (`<class>/<name>.<suffix>`) and return the number of boxes."""
    if target.exists():
        raise CannotWrite(
            problem=f"{target} exists.",
            reason="It may hold boxes of yours, and `init` never replaces a file.",
            fix="Move it out of the folder, or leave out --boxes to use it as it is.",
        )
    by_stem: dict[str, list[str]] = {}
    for image in images:
        by_stem.setdefault(PurePosixPath(image).stem, []).append(image)
    files = sorted(path for path in annotations.rglob("*.xml") if path.stem in by_stem)
    twice = next(
        (stem for stem, own in by_stem.items() if len(own) > 1 and stem in {file.stem for file in files}), None
    )
    if not files or twice:
        cause = f"{' and '.join(by_stem[twice])} have the same name" if twice else "none has the name of an image"
        raise DatasetInvalid(
            problem=f"the XML files in {annotations} do not belong to images: {cause}.",
            reason="An XML file must have the name of exactly one image, up to the suffix.",
            fix="Give the folder of the annotations with --boxes, and keep the names of the images as published.",
        )
    found = {by_stem[file.stem][0]: read_annotation(file) for file in files}
    rows = [(image, *box[1:]) for image, boxes in _of_own_class(found).items() for box in boxes]
    with replacing(target) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((image, *(f"{number:g}" for number in numbers)) for image, *numbers in rows)
    return len(rows)


def read_annotation(path: Path) -> list[AnnotatedBox]:
    """Return the objects of one XML file."""
    try:
        root = ElementTree.parse(path).getroot()  # it has no entities of its own: expat's limits on their growth hold
        first = 1 if FIRST_PIXEL_IS_ONE in (root.findtext("source/database") or "").lower() else 0
        return [_box(one, first) for one in root.iter("object")]
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DatasetInvalid(
            problem=f"{path} cannot be read as an annotation: {error}.",
            reason=WHY,
            fix="Copy the file again from its publisher, or remove it.",
        ) from error


def _box(one: ElementTree.Element, first: int) -> AnnotatedBox:
    """Return an object's box; `first`: the number of the first pixel, whose box then includes its last pixel."""
    left, top, right, bottom = (float(str(one.findtext(f"bndbox/{corner}"))) for corner in CORNERS)
    box = AnnotatedBox(
        one.findtext("name") or "", left - first, top - first, right - left + first, bottom - top + first
    )
    if min(box.x, box.y) < 0 or min(box.width, box.height) <= 0:
        raise ValueError(f"the box {left:g}, {top:g}, {right:g}, {bottom:g} is not inside an image")
    return box


def _of_own_class(found: Mapping[str, list[AnnotatedBox]]) -> dict[str, list[AnnotatedBox]]:
    """Return the boxes that count, image by image."""
    classes = {image.partition("/")[0] for image in found}
    named = any(box.name in classes for boxes in found.values() for box in boxes)
    return {
        image: [box for box in boxes if not named or box.name == image.partition("/")[0]]
        for image, boxes in found.items()
    }
