"""A miniature IQ-OTH/NCCD in its true on-disk layout, drawn by the phantom: any number of slices, and who they are of.

The release's own folders, spelling ("Bengin"), numbers from 1 without gaps, colour JPEGs of three equal channels, a text file
beside the class folders. A patient's slices are neighbours in number, as in the release; the truth about patients is returned.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gradfaith.data.phantom import ct_slices, scanner

CLASSES: dict[str, scanner.PhantomClass] = {"Bengin": "benign", "Malignant": "malignant", "Normal": "normal"}
NESTED = "The IQ-OTHNCCD lung cancer dataset"


@dataclass(frozen=True)
class Slice:
    """One file of the release, and what the release does not say of it."""

    file: str  # relative to raw
    label: str
    number: int
    patient: str


def release(
    raw: Path, *, patients: int = 2, per_patient: int = 3, size: int = 48, nested: bool = True, seed: int = 0
) -> list[Slice]:
    """Write `patients` per class with `per_patient` slices each."""
    root = raw / NESTED if nested else raw
    root.mkdir(parents=True, exist_ok=True)
    (root / "IQ-OTH_NCCD lung cancer dataset.txt").write_text("The IQ-OTH/NCCD lung cancer dataset, in miniature.\n")
    found = []
    for place, (word, label) in enumerate(CLASSES.items()):
        folder = root / f"{word} cases"
        folder.mkdir()
        for number in range(patients * per_patient):
            patient = place + 3 * (number // per_patient)
            cut = ct_slices.SliceSpec(seed, patient, label, number % per_patient, per_patient, size, 0.35)
            pixels = ct_slices.scan_slice(
                cut, ct_slices.draw_slice(cut), scanner.draw_kernel(seed, patient, label, 0.0)
            )
            path = folder / f"{word} case ({number + 1}).jpg"
            Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(path, quality=98)
            found.append(Slice(path.relative_to(raw).as_posix(), label, number + 1, f"{label}-{patient}"))
    return found
