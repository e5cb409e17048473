"""Draw the contact sheets of docs/phantom.md: classes, slices, lesions, calcification, contacts, decoys, options, shortcuts.

    python docs/phantom_sheets.py            write all sheets to docs/images/phantom-*.png; about a minute
    python docs/phantom_sheets.py decoys     write this sheet only

Full slices are 224 pixels wide and not enlarged. Lesions are cut out of slices of 448 pixels (0.85 mm per pixel) and
enlarged four times. Every image is a function of its options, so a sheet is the same on every machine.
"""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from gradfaith.data.phantom import chest, ct_slices, decoys, lesions, scanner
from gradfaith.data.phantom.geometry import patient_frame
from gradfaith.data.readers import phantom
from gradfaith.data.readers.contract import DecodedImage

FOLDER = Path(__file__).parent / "images"
CLASSES = scanner.PHANTOM_CLASSES
Tile = NDArray[np.uint8]


def slices(patients: int, slices_of_each: int = 1, **options: object) -> dict[str, list[DecodedImage]]:
    """Return the first patients of each class, all slices of one after another."""
    settings = phantom.Options.model_validate(
        {"size": 224, "patients_per_class": patients, "slices_per_patient": slices_of_each, **options}
    )
    found: dict[str, list[DecodedImage]] = {name: [] for name in CLASSES}
    for record in phantom.index(None, settings):
        found[record.label].append(phantom.read(None, settings, record, None))
    return found


def sheet(rows: list[list[Tile]], gap: int = 4) -> Tile:
    """Lay images of one size out in rows, with white lines between them."""
    lines = [np.concatenate([np.pad(tile, gap // 2, constant_values=255) for tile in row], axis=1) for row in rows]
    return np.concatenate(lines)


def colour(image: DecodedImage, regions: dict[str, tuple[int, int, int]]) -> NDArray[np.uint8]:  # (h, w, 3)
    """Return an image with the outlines of its masks."""
    painted = np.repeat(image.pixels[..., None], 3, axis=2)
    for name, shade in regions.items():
        if name in image.masks:
            painted[image.masks[name] & ~binary_erosion(image.masks[name])] = shade
    return painted


def colour_sheet(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    return np.stack([sheet([[tile[..., i] for tile in row] for row in rows]) for i in range(3)], axis=2)


ENLARGED, AROUND_MM = 4, 28


def patch(seed: int, patient: int, label: lesions.LesionClass | str, x: float, y: float, difficulty: float) -> Tile:
    """Return the surroundings of a point of a patient, enlarged."""
    name = next(known for known in CLASSES if known == label)
    cut = ct_slices.SliceSpec(seed, patient, name, 0, 1, 448, difficulty)
    pixels = ct_slices.scan_slice(cut, ct_slices.draw_slice(cut), scanner.KERNELS[patient % 3])
    anatomy = chest.draw_anatomy(seed, patient)
    on = patient_frame(448, (anatomy.centre_x, anatomy.centre_y), anatomy.tilt)
    half = round(AROUND_MM * lesions.MM / on.pixel)
    column, row = (round(value) + half for value in on.pixels(x, y))
    part = np.pad(pixels, half)[row - half : row + half, column - half : column + half]
    return np.asarray(Image.fromarray(part).resize((56 * ENLARGED, 56 * ENLARGED), Image.Resampling.BICUBIC))


@cache
def pool(label: lesions.LesionClass) -> list[tuple[int, lesions.Lesion]]:
    """Return the first lesion of many patients, with the patient's number."""
    return [(patient, lesions.draw_lesions(7, patient, label, 0.35)[0]) for patient in range(240)]


def lesions_with(label: lesions.LesionClass, count: int, **wanted: str) -> list[Tile]:
    """Return patches of the first lesions that have the wanted properties, black where too few patients have one."""
    found = [
        (patient, item)
        for patient, item in pool(label)
        if item.radius > 4 * lesions.MM and all(getattr(item.about, name) == value for name, value in wanted.items())
    ]
    tiles = [patch(7, patient, label, item.x, item.y, 0.35) for patient, item in found[:count]]
    return tiles + [np.zeros((56 * ENLARGED, 56 * ENLARGED), np.uint8)] * (count - len(tiles))


def outlines() -> Tile:
    """Draw outline by density: three benign and three malignant lesions in each row, black where too few patients have one."""
    rows = [
        [
            tile
            for label in lesions.KINDS
            for tile in lesions_with(label, 3, outline=outline, density=density, calcification="none")
        ]
        for density in ("solid", "part-solid", "ground-glass")
        for outline in ("smooth", "lobulated", "spiculated")
    ]
    return sheet(rows)


def calcification() -> Tile:
    """Draw a column per pattern."""
    patterns = ("central", "laminated", "popcorn", "diffuse", "eccentric")
    found = [lesions_with("benign", 3, calcification=pattern) for pattern in patterns]
    return sheet([list(row) for row in zip(*found, strict=True)])


def contacts() -> Tile:
    return sheet([lesions_with("malignant", 5, contact=contact) for contact in ("vessel", "pleura", "pleural-tag")])


def decoy_patches() -> Tile:
    """Rows: perpendicular vessels, crossings, scars, small dots, thickened fissures, dependent density."""
    rows: list[list[Tile]] = [[] for _ in range(6)]
    for patient in range(40):
        found, blood = decoys.draw_decoys(7, patient), chest.draw_anatomy(7, patient).blood - 80
        tall = [dot for dot in found.dots if not np.isfinite(dot.height)]
        small = [dot for dot in found.dots if np.isfinite(dot.height)]
        crossing = [band for band in found.bands if band.value == blood]
        scars = [band for band in found.bands if band.value != blood]
        thick = [
            (line.hand * line.where, line.front + line.slope * line.where) for line in found.fissures if line.thick
        ]
        haze = [(0.3, 0.34)] if found.dependent > 120 else []
        places = [[(item.x, item.y) for item in kind] for kind in (tall, crossing, scars, small)] + [thick, haze]
        for row, points in zip(rows, places, strict=True):
            if points and len(row) < 5:
                row.append(patch(7, patient, "normal", *points[0], 0.35))
    return sheet(rows)


def full(**options: object) -> Callable[[], Tile]:
    """Return a sheet of full slices: a row per class."""
    return lambda: sheet([[image.pixels for image in row] for row in slices(5, **options).values()])


def neighbours() -> Tile:
    found = slices(1, 5)
    return sheet([[image.pixels for image in found[name]] for name in ("benign", "malignant")])


def evidence() -> NDArray[np.uint8]:
    shades = {"body": (70, 130, 255), "lungs": (60, 200, 90), "evidence": (255, 150, 0)}
    return colour_sheet([[colour(image, shades) for image in row] for row in slices(5).values()])


def difficulty() -> Tile:
    found = [slices(2, difficulty=share) for share in (0.0, 0.35, 1.0)]
    return sheet([[image.pixels for name in CLASSES[1:] for image in one[name]] for one in found])


def views() -> Tile:
    found = [slices(5, view=view)["malignant"] for view in ("chest", "lungs", "lung")]
    return sheet([[image.pixels for image in row] for row in found])


def shortcut(kind: str) -> Callable[[], NDArray[np.uint8]]:
    """Return a sheet of a planted shortcut: two patients of each class, its mask outlined."""

    def drawn() -> NDArray[np.uint8]:
        found = slices(2, shortcut={"kind": kind, "strength": 1.0})
        return colour_sheet([[colour(image, {"shortcut": (255, 150, 0)}) for row in found.values() for image in row]])

    return drawn


SHEETS: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "classes": full(), "slices": neighbours, "lesions": outlines, "calcification": calcification, "contacts": contacts,
    "decoys": decoy_patches, "evidence": evidence, "difficulty": difficulty, "views": views,
    "native": full(size=96), "marker": shortcut("marker"), "kernel": shortcut("kernel"), "text": shortcut("burnt_in_text"),
}  # fmt: skip


def main(names: list[str]) -> None:
    for name in names or SHEETS:
        Image.fromarray(SHEETS[name]()).save(FOLDER / f"phantom-{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
