"""Draw and scan one slice of one patient: anatomy, decoys, lesions, then the scanner.

A slice is a pure function of (seed, patient, slice) and the options. Anatomy, decoys, dose and noise come from streams that
do not depend on the class: two patients with the same number differ only in their lesions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom import chest, decoys, lesion_paint, lesions, lung_trees, organs, scanner
from gradfaith.data.phantom.geometry import Field, patient_frame, smooth_step
from gradfaith.data.phantom.scanner import PhantomClass

_SLICE_SPACING = 2.5 * lesions.MM  # between slices


@dataclass(frozen=True)
class SliceSpec:
    """The slice and patient to draw, with image size and difficulty."""

    seed: int
    patient: int
    label: PhantomClass
    slice: int
    slices: int
    size: int
    difficulty: float

    @property
    def z(self) -> float:
        """The position along the patient, in half fields of view; with many slices, the spacing is smaller."""
        gaps = self.slices - 1
        return (self.slice - gaps / 2) * min(_SLICE_SPACING, lesions.SPAN / gaps) if gaps else 0.0


@dataclass(frozen=True)
class SliceTruth:
    """A slice before the scanner: Hounsfield units and regions. All (h, w)."""

    hounsfield: Field
    body: NDArray[np.bool_]
    lungs: NDArray[np.bool_]
    evidence: NDArray[np.bool_] | None


def draw_slice(cut: SliceSpec, *, lesion: bool = True) -> SliceTruth:
    """Draw the slice without noise; `lesion=False` leaves out the lesions and nothing else."""
    patient, irregular = chest.draw_anatomy(cut.seed, cut.patient), chest.draw_waves(cut.seed, cut.patient)
    on = patient_frame(cut.size, (patient.centre_x, patient.centre_y), patient.tilt)
    at = chest.chest_section(patient, irregular, cut.z, on)
    trees = lung_trees.grow_trees(cut.seed, cut.patient, cut.difficulty)
    image = organs.paint_anatomy(patient, irregular, trees, cut.z, at, on)
    decoys.paint_decoys(image, decoys.draw_decoys(cut.seed, cut.patient), cut.z, at, on)
    evidence = None
    if lesion and cut.label != "normal":
        found = lesions.draw_lesions(cut.seed, cut.patient, cut.label, cut.difficulty)
        parts = [lesion_paint.paint_lesion(image, item, cut.z, at.lungs, on) for item in found]
        evidence = np.logical_or.reduce(parts)
    return SliceTruth(image, at.body >= 0.5, at.lungs >= 0.5, evidence)


def scan_slice(
    cut: SliceSpec, truth: SliceTruth, kernel: scanner.Kernel, window: scanner.Window = "lung"
) -> NDArray[np.uint8]:  # (h, w)
    """Scan a slice with blur, streaks and noise, and export it as grey values."""
    stream = rng.generator(cut.seed, "phantom", cut.patient, "noise", cut.slice)
    patient, how = chest.draw_anatomy(cut.seed, cut.patient), scanner.draw_scan_settings(cut.seed, cut.patient, kernel)
    shoulders = 1 - smooth_step(0.24, 0.50, chest.level_of(patient, cut.z))
    seen = scanner.scan(truth.hounsfield, how, shoulders, (patient.centre_x, patient.centre_y), stream)
    return scanner.export_grey(seen, window)
