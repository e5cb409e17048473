"""Read FunnyBirds: rendered birds of five parts, with part maps and images without parts.

    raw/classes.json, raw/parts.json                        the kinds of the parts of each class; the parts
    raw/<train|test>/<class>/<n>.png                        images
    raw/<train|test>_part_map/<class>/<n>.png               a colour per part, and per object behind the bird
    raw/test_interventions/<class>/<n>/body_<kept>.png      the image with these parts only, joined by "_"
    raw/test_interventions/<class>/<n>/background_interventions/<i>.png      the image without object i

Classes are numbers from 0 and are called bird-00, bird-01, ... Parts have the numbers of their names in alphabetical order;
the two eyes, feet or wings of a bird are one part. Objects have the numbers from FIRST_SURROUNDING. `raw` may also contain one
folder FunnyBirds with all this. The release has its own test images, so studies use `split: {by: folder}`. [hesse2023]
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from gradfaith.data import part_classes
from gradfaith.data.decode import decode
from gradfaith.data.readers.contract import (
    DecodedImage,
    PartSet,
    Pixels,
    ReaderOptions,
    Record,
    Renders,
    natural_sort_key,
)
from gradfaith.errors import DatasetInvalid, UnreadableImage
from gradfaith.vocabulary import FIRST_SURROUNDING

HOME, SPLITS = "FunnyBirds", ("train", "test")
COLOURS = {
    (255, 255, 0): "beak", (255, 255, 253): "eye", (255, 255, 254): "eye", (255, 0, 1): "foot", (255, 0, 2): "foot",
    (0, 255, 1): "wing", (0, 255, 2): "wing", (0, 0, 255): "tail",
}  # fmt: skip
FIRST_OBJECT, OBJECTS = (204, 204, 204), 50  # the colour of object 0; its blue grows by one per object


class Options(ReaderOptions):
    """There is nothing to choose."""


@dataclass(frozen=True)
class Release:
    """The classes of the release, by the numbers of their parts."""

    home: Path
    parts: tuple[str, ...]
    kinds: Mapping[str, part_classes.Kinds]  # by the name of the class


def class_name(number: int | str) -> str:
    """Return the name of a class."""
    return f"bird-{int(number):02d}"


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:  # noqa: ARG001 - a reader's signature
    """Return the images, their part maps, the images without parts, and the two lists."""
    root, home = _raw_folder(raw), _home(raw)
    pictures = (home / place for part in SPLITS for place in (part, f"{part}_part_map", f"{part}_interventions"))
    found = [
        path for place in pictures if place.is_dir() for path in place.rglob("*.png") if not path.name.startswith(".")
    ]
    lists = [home / "classes.json", home / "parts.json"]
    return {path.relative_to(root).as_posix(): path for path in sorted(found + lists)}


def index(raw: Path | None, options: Options) -> Iterator[Record]:  # noqa: ARG001 - a reader's signature
    """Yield one record per image; every image is its own group."""
    root, release = _raw_folder(raw), _release(raw)
    for part in SPLITS:
        folders = [folder for folder in (release.home / part).iterdir() if folder.is_dir() and folder.name.isdigit()]
        for folder in sorted(folders, key=lambda path: int(path.name)):
            for path in sorted(folder.glob("[!.]*.png"), key=lambda path: natural_sort_key(path.name)):
                name, label = path.relative_to(release.home).with_suffix("").as_posix(), class_name(folder.name)
                if label not in release.kinds:
                    raise _invalid(f"{path} is of class {folder.name}, which classes.json does not have")
                parts = release.home / f"{part}_part_map" / folder.name / path.name
                if not parts.is_file():
                    raise _invalid(f"{path} has no part map {parts}")
                masks = {"evidence": parts.relative_to(root).as_posix()}
                yield Record(name, path.relative_to(root).as_posix(), label, name, "photograph", "parts", masks)


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001
    """Decode one image with its parts; the images without them are decoded when they are asked for."""
    root, release = _raw_folder(raw), _release(raw)
    file = root / record.file
    pixels, parts = decode(file, 3), _decode_parts(root / record.masks["evidence"], release.parts)
    if parts.shape != pixels.shape[:2]:
        raise UnreadableImage(
            problem=f"{file} is {pixels.shape[:2]} pixels, but its part map {parts.shape}.",
            reason="Parts and image are compared pixel by pixel.",
            fix="Unpack the release again.",
        )
    evidence = (parts > 0) & (parts < FIRST_SURROUNDING)
    masks = {"evidence": evidence} if evidence.any() else {}
    return DecodedImage(pixels, masks, parts, _renders(release, file, record.label))


def _renders(release: Release, file: Path, label: str) -> Renders | None:
    place = file.parents[2] / f"{file.parents[1].name}_interventions" / file.parent.name / file.stem
    if not place.is_dir():
        return None
    without: dict[PartSet, partial[Pixels]] = {}
    for removed in part_classes.part_sets(len(release.parts)):
        kept = sorted(name for number, name in enumerate(release.parts, start=1) if number not in removed)
        without[removed] = partial(decode, place / f"body_{'_'.join(kept)}.png", 3)
    for number in range(OBJECTS):  # objects that the bird hides count, too
        if (object_file := place / "background_interventions" / f"{number}.png").is_file():
            without[(FIRST_SURROUNDING + number,)] = partial(decode, object_file, 3)
    others = [kinds for name, kinds in release.kinds.items() if name != label]
    sufficient = part_classes.sufficient_removals(release.kinds[label], others)
    return Renders(without, sufficient, part_classes.contrast_classes(label, release.kinds))


def _decode_parts(path: Path, names: tuple[str, ...]) -> Pixels:  # (h, w)
    """Decode a part map: colours to numbers; the body and the ground have none."""
    colours = decode(path, 3)
    parts = np.zeros(colours.shape[:2], dtype=np.uint8)
    for colour, name in COLOURS.items():
        if name in names:
            parts[(colours == colour).all(axis=2)] = names.index(name) + 1
    red, green, blue = (colours[..., channel].astype(np.int16) - FIRST_OBJECT[channel] for channel in range(3))
    is_object = (red == 0) & (green == 0) & (blue >= 0) & (blue < OBJECTS)
    parts[is_object] = FIRST_SURROUNDING + blue[is_object]
    return parts


def _release(raw: Path | None) -> Release:
    home = _home(raw)
    stamp = tuple((home / name).stat().st_mtime_ns for name in ("classes.json", "parts.json"))
    return _read_release(home, stamp)


@lru_cache(maxsize=4)
def _read_release(home: Path, _stamp: tuple[int, ...]) -> Release:
    """Read the two lists once."""
    classes, parts = (_read_json(home / name) for name in ("classes.json", "parts.json"))
    try:
        names = tuple(sorted(parts))
        kinds = {class_name(one["class_idx"]): tuple(int(one["parts"][name]) for name in names) for one in classes}
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(f"classes.json or parts.json lacks {error}") from error
    return Release(home, names, kinds)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _invalid(f"{path} cannot be read: {error}") from error


def _raw_folder(raw: Path | None) -> Path:
    if raw is None or not raw.is_dir():
        raise _invalid(f"the raw folder {raw} is not there")
    return raw


def _home(raw: Path | None) -> Path:
    """Return the folder of the release: the raw folder, or the folder FunnyBirds in it."""
    root = _raw_folder(raw)
    home = root / HOME if (root / HOME).is_dir() else root
    missing = [name for name in ("classes.json", "parts.json", *SPLITS) if not (home / name).exists()]
    if missing:
        raise _invalid(f"{home} has no {missing[0]}")
    return home


def _invalid(problem: str) -> DatasetInvalid:
    return DatasetInvalid(
        problem=f"{problem}.",
        reason="The release of FunnyBirds has classes.json, parts.json, and the folders train, test and their part maps.",
        fix="Run `snakemake fetch`, or set `dataset: {source: FOLDER or ARCHIVE}` to the complete release.",
    )
