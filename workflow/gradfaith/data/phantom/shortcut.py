"""Class-correlated marks that are not disease: a corner marker, or the grain of the reconstruction kernel.

    with probability `strength` a patient carries its own class's mark, otherwise one drawn without looking at the class

At strength 0 the mark says nothing about the class, at strength 1 it says all. Markers: a disc, a bar or a triangle,
each in its own corner; a patient that is not tied has any of the three or none. Kernels: soft, medium, sharp; untied,
every class has equally many of each (in blocks of three patients), which is also what a phantom without a shortcut has:
a small study should not find a kernel tied to a class by accident. Malignant goes with the soft kernel, as in the
public lung CT set in which this shortcut was found. A kernel covers the whole image, so it has no mask.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom.scanner import KERNELS, Kernel

Label = Literal["normal", "benign", "malignant"]
LABELS: tuple[Label, ...] = ("normal", "benign", "malignant")
_KERNEL: dict[Label, Kernel] = {"normal": "sharp", "benign": "medium", "malignant": "soft"}
_CORNER: dict[Label, tuple[int, int]] = {"normal": (0, 0), "benign": (0, 1), "malignant": (1, 1)}  # lower?, right?
_GREY = 235


def kernel(seed: int, patient: int, label: Label, strength: float) -> Kernel:
    """The kernel a patient was reconstructed with; untied, three patients in a row of a class share out the three."""
    tied = rng.generator(seed, "phantom", patient, "kernel").random() < strength
    block, turn = divmod(patient // len(LABELS), len(KERNELS))
    order = rng.generator(seed, "phantom", "kernels", block, patient % len(LABELS)).permutation(len(KERNELS))
    return _KERNEL[label] if tied else KERNELS[order[turn]]


def marker(seed: int, patient: int, label: Label, strength: float) -> Label | None:
    """Whose marker a patient's images carry, if any."""
    stream = rng.generator(seed, "phantom", patient, "marker")
    tied, other = stream.random() < strength, (*LABELS, None)[int(stream.integers(len(LABELS) + 1))]
    return label if tied else other


def stamp(pixels: NDArray[np.uint8], whose: Label) -> NDArray[np.bool_]:  # (h, w)
    """Draw a class's marker, in place, and give back the pixels it covers."""
    size = pixels.shape[0]
    side = max(round(size * 0.09), 3)
    edge = max(round(size * 0.03), 1)
    low, right = _CORNER[whose]
    top, left = (size - edge - side if low else edge), (size - edge - side if right else edge)
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    shape = {"normal": x * x + y * y <= 0.25, "benign": np.abs(y) <= 0.25, "malignant": np.abs(x) <= (y + 0.5) / 2}[
        whose
    ]
    covered = np.zeros(pixels.shape, np.bool_)
    covered[top : top + side, left : left + side] = shape
    pixels[covered] = _GREY
    return covered
