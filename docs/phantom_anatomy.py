"""Draw the sheets of phantom.md that show anatomy and scanner: levels, kernels, windows.

    python docs/phantom_anatomy.py [folder of the images, by default docs/images]

The images are drawn at 224 pixels, except the rows of levels (176). Patients are taken in the order of their numbers; none
is chosen by its look.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from gradfaith.data.phantom import chest, ct_slices, scanner
from gradfaith.data.phantom.ct_slices import SliceSpec

SEED = 20
CUT = SliceSpec(seed=SEED, patient=0, label="normal", slice=0, slices=1, size=224, difficulty=0.35)


def scanned(cut, kernel="medium", window="lung"):
    """Return one slice as grey values."""
    return ct_slices.scan_slice(cut, ct_slices.draw_slice(cut), kernel, window)


def levels():
    """Return twelve patients, ordered from apex to diaphragm."""
    patients = sorted(range(60), key=lambda patient: chest.draw_anatomy(SEED, patient).level)[2::5]
    return [scanned(replace(CUT, patient=patient, size=176)) for patient in patients]


def kernels():
    """Return two patients with each kernel, the middle of the image enlarged below."""
    rows = [[scanned(replace(CUT, patient=patient), kernel) for kernel in scanner.KERNELS] for patient in (3, 6)]
    enlarged = [np.kron(image[74:149, 20:95], np.ones((3, 3), np.uint8))[:224, :224] for image in rows[0]]
    return [*rows[0], *rows[1], *enlarged]


def windows():
    """Return two patients in each window."""
    return [scanned(replace(CUT, patient=patient), window=window) for patient in (4, 9) for window in scanner.WINDOWS]


def save(path, images, columns):
    """Write images as one sheet."""
    rows = [np.concatenate(images[start : start + columns], axis=1) for start in range(0, len(images), columns)]
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    for name, drawn, columns in (("levels", levels, 6), ("kernels", kernels, 3), ("windows", windows, 3)):
        save(folder / f"phantom-{name}.png", drawn(), columns)
