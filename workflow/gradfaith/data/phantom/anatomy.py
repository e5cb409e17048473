"""What makes one patient differ from another: about thirty numbers, drawn alike for every class.

Each is uniform in its range below. The stream is keyed by the study's seed and the patient's number alone, so a class
cannot show in anything but its nodule. Lengths are in half fields of view (about 19 cm), materials in Hounsfield units.
`level` runs from 0 at the lung apex to 1 at the diaphragm; the lungs are HEIGHT tall.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from gradfaith import rng

HEIGHT = 1.3


@dataclass(frozen=True)
class Anatomy:
    """One patient's numbers."""

    level: float
    centre_x: float
    centre_y: float
    tilt: float
    width: float  # of the chest cavity, half
    depth: float
    squareness: float
    lean: float  # how much wider one side is
    muscle: float
    fat: float
    couch_gap: float
    couch_curve: float
    ribs: float  # phase of the rib pattern
    rib_gap: float
    bone: float  # Hounsfield units of cortical bone, and so on below
    soft: float
    adipose: float
    blood: float
    lung: float
    gravity: float  # how much denser the lung is at the back
    mottle: float
    heart: float
    heart_shift: float
    aorta: float
    hilum: float
    thymus: float
    liver: float  # the level at which its dome appears
    emptiness: float  # fat in the mediastinum
    vessels: float
    calibre: float


_RANGES: dict[str, tuple[float, float]] = {
    "level": (0.24, 0.84),
    "centre_x": (-0.04, 0.04),
    "centre_y": (-0.10, -0.02),
    "tilt": (-0.07, 0.07),
    "width": (0.58, 0.69),
    "depth": (0.40, 0.47),
    "squareness": (2.1, 2.7),
    "lean": (-0.03, 0.03),
    "muscle": (0.075, 0.115),
    "fat": (0.025, 0.10),
    "couch_gap": (0.0, 0.03),
    "couch_curve": (0.06, 0.16),
    "ribs": (0.0, 1.0),
    "rib_gap": (0.40, 0.52),
    "bone": (380, 620),
    "soft": (30, 60),
    "adipose": (-120, -90),
    "blood": (40, 190),
    "lung": (-890, -800),
    "gravity": (10, 90),
    "mottle": (4, 16),
    "heart": (0.85, 1.15),
    "heart_shift": (-0.03, 0.05),
    "aorta": (0.050, 0.075),
    "hilum": (0.85, 1.15),
    "thymus": (0.04, 0.09),
    "liver": (0.74, 1.05),
    "emptiness": (-70, 0),
    "vessels": (0.75, 1.25),
    "calibre": (0.85, 1.2),
}


@lru_cache(maxsize=256)
def draw(seed: int, patient: int) -> Anatomy:
    """The anatomy of a patient of a study."""
    stream = rng.generator(seed, "phantom", patient, "anatomy")
    return Anatomy(**{item.name: float(stream.uniform(*_RANGES[item.name])) for item in fields(Anatomy)})


@lru_cache(maxsize=256)
def waves(seed: int, patient: int, count: int = 4) -> tuple[tuple[float, float, float, float], ...]:
    """A patient's smooth irregularities: `count` waves, each an amplitude, two frequencies and a phase."""
    stream = rng.generator(seed, "phantom", patient, "waves")
    drawn = stream.uniform([0.3, 2.0, 2.0, 0.0], [1.0, 9.0, 9.0, 2 * np.pi], size=(count, 4))
    return tuple((float(a), float(u), float(v), float(phase)) for a, u, v, phase in drawn)
