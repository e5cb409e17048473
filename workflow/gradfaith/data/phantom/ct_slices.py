"""One slice of one patient, put together: anatomy, vessels, nodule, then the scanner.

A slice is a pure function of (seed, patient, slice) and the options. Anatomy, vessels, dose and noise come from streams
that never see the class: two patients with the same number differ in their nodule alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom import chest, lesions, organs, scanner
from gradfaith.data.phantom.geometry import Field, blend, frame
from gradfaith.data.phantom.scanner import Label

_SPACING = 0.025  # between slices, in half fields of view: about 5 mm


@dataclass(frozen=True)
class Cut:
    """Which slice of whom, and how it is drawn."""

    seed: int
    patient: int
    label: Label
    slice: int
    slices: int
    size: int
    difficulty: float

    @property
    def z(self) -> float:
        """The slice's place along the patient; slices lie closer where there are many."""
        gaps = self.slices - 1
        return (self.slice - gaps / 2) * min(_SPACING, lesions.SPAN / gaps) if gaps else 0.0


@dataclass(frozen=True)
class Truth:
    """A slice before the scanner: Hounsfield units and regions. All (h, w)."""

    hounsfield: Field
    body: NDArray[np.bool_]
    lungs: NDArray[np.bool_]
    evidence: NDArray[np.bool_] | None


def draw(cut: Cut, *, nodule: bool = True) -> Truth:
    """The slice without noise; `nodule=False` leaves the nodule out and nothing else."""
    patient, irregular = chest.draw(cut.seed, cut.patient), chest.waves(cut.seed, cut.patient)
    on = frame(cut.size, (patient.centre_x, patient.centre_y), patient.tilt)
    at = chest.section(patient, irregular, cut.z, on)
    image = organs.body(patient, irregular, cut.z, at, on)
    tree = organs.grow(cut.seed, cut.patient, cut.difficulty)
    blend(image, organs.section(tree, cut.z, on) * at.lungs, patient.blood - 20)
    evidence = None
    if nodule and cut.label != "normal":
        item = lesions.nodule(cut.seed, cut.patient, cut.label, cut.difficulty)
        evidence = lesions.paint(image, item, cut.z, at.lungs, on)
    return Truth(image, at.body >= 0.5, at.lungs >= 0.5, evidence)


def expose(cut: Cut, truth: Truth, kernel: scanner.Kernel) -> NDArray[np.uint8]:  # (h, w)
    """The exported picture."""
    stream = rng.generator(cut.seed, "phantom", cut.patient, "noise", cut.slice)
    how = scanner.scan(cut.seed, cut.patient, kernel)
    return scanner.export(truth.hounsfield + scanner.noise(cut.size, how, stream))
