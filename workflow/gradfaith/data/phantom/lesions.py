"""Draw a patient's lesions: their kind, size, outline, density, calcification, contact and place.

A lesion is drawn in this order, each step from its own distribution (KINDS):

    kind | class  ->  diameter | class  ->  outline, density, calcification | kind  ->  contact | class  ->  place

    diameter = clip(median * exp(0.38 * normal), 5, 40) mm,   median = (13.0 benign, 13.2 malignant) * (1.5 - d)

d is the difficulty. Outline, density and contact have the same values in both classes, in other shares. Size tells nearly
nothing of the class, and only the combination of the others tells it well: a spiculated lesion is mostly malignant, but not
if it is calcified throughout; a solid one with a smooth outline is mostly benign, but a metastasis has one as well.

One patient in six with a lesion has one or two more. Those of a benign patient are benign. Those of a malignant patient are
benign or malignant. The label is the worst. Lengths are in half fields of view (HALF_FIELD_MM), materials in Hounsfield
units. The values and their sources are in docs/phantom.md. Cost: about 3 ms once per patient, for the place.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom import chest, lung_trees
from gradfaith.data.phantom.geometry import Field, Frame, patient_frame
from gradfaith.vocabulary import LesionProperties

LesionClass = Literal["benign", "malignant"]
Outline = Literal["smooth", "lobulated", "spiculated"]
Density = Literal["solid", "part-solid", "ground-glass"]
Calcification = Literal["none", "central", "laminated", "popcorn", "diffuse", "eccentric"]
Contact = Literal["none", "vessel", "pleura", "pleural-tag"]

HALF_FIELD_MM = 190.0
MM = 1 / HALF_FIELD_MM
SPAN = 7.5 * MM  # z from a patient's first to last slice, at most
SMALLEST_MM, LARGEST_MM = 5.0, 40.0
_MEDIAN_MM: dict[LesionClass, float] = {"benign": 13.0, "malignant": 13.2}  # at difficulty 1/2
_SPREAD = 0.38  # of the logarithm of the diameter
_FURTHER = 0.75  # the median diameter of a further lesion, by that of the first
_MORE = (0.84, 0.11, 0.05)  # chance of none, one and two further lesions
_PLACING = 64  # pixels of the coarse section on which a lesion is placed, for any image size
Chances = dict[str, float]


def examined_side(seed: int, patient: int) -> int:
    """Return the side of the image, -1 or 1, with the lung that is examined; drawn without looking at the class."""
    return int(rng.generator(seed, "phantom", patient, "side").choice((-1, 1)))


@dataclass(frozen=True)
class LesionKind:
    """One kind of lesion: its share of the class, and the chances of its properties."""

    share: float
    outline: Chances
    density: Chances
    calcification: Chances
    cavity: float = 0.0


_SOLID: Chances = {"solid": 1.0}
_NONE: Chances = {"none": 1.0}
KINDS: dict[LesionClass, dict[str, LesionKind]] = {
    "benign": {
        "granuloma": LesionKind(
            0.52, {"smooth": 0.9, "lobulated": 0.1}, _SOLID,
            {"none": 0.22, "central": 0.30, "laminated": 0.14, "diffuse": 0.34},
        ),
        "hamartoma": LesionKind(0.20, {"smooth": 0.3, "lobulated": 0.7}, _SOLID, {"none": 0.12, "popcorn": 0.88}),
        "inflammation": LesionKind(
            0.14, {"spiculated": 0.8, "lobulated": 0.2}, _SOLID, {"none": 0.10, "diffuse": 0.75, "eccentric": 0.15}
        ),
        "focal-haze": LesionKind(
            0.14, {"smooth": 0.8, "lobulated": 0.2}, {"ground-glass": 0.85, "part-solid": 0.15}, _NONE
        ),
    },
    "malignant": {
        "adenocarcinoma": LesionKind(
            0.70, {"spiculated": 0.82, "lobulated": 0.14, "smooth": 0.04},
            {"solid": 0.48, "part-solid": 0.42, "ground-glass": 0.10}, {"none": 0.94, "eccentric": 0.06}, 0.02,
        ),
        "squamous-carcinoma": LesionKind(
            0.16, {"spiculated": 0.7, "lobulated": 0.3}, _SOLID, {"none": 0.94, "eccentric": 0.06}, 0.15
        ),
        "small-cell-carcinoma": LesionKind(
            0.08, {"lobulated": 0.7, "spiculated": 0.2, "smooth": 0.1}, _SOLID, _NONE
        ),
        "metastasis": LesionKind(0.06, {"smooth": 0.7, "lobulated": 0.3}, _SOLID, _NONE, 0.03),
    },
}  # fmt: skip
CONTACTS: dict[LesionClass, Chances] = {
    "benign": {"none": 0.60, "vessel": 0.15, "pleura": 0.17, "pleural-tag": 0.08},
    "malignant": {"none": 0.40, "vessel": 0.20, "pleura": 0.20, "pleural-tag": 0.20},
}


@dataclass(frozen=True)
class Lesion:
    """One lesion; lengths in half fields of view."""

    about: LesionProperties
    label: LesionClass
    x: float
    y: float
    z: float
    radius: float
    height: float  # half its extent along z
    stretch: float  # long axis by short axis, in plane
    turn: float  # of the long axis
    cavity: float  # radius of the air inside, as a share of the lesion's
    solid: float  # Hounsfield units of solid tissue, and of ground glass
    haze: float
    core: float  # share of the radius that is solid, if part-solid
    to_pleura: tuple[float, float, float]  # direction and distance to the nearest pleura
    key: tuple[object, ...]  # of its random stream: outline, texture and spicules


@lru_cache(maxsize=256)
def draw_lesions(seed: int, patient: int, label: LesionClass, difficulty: float) -> tuple[Lesion, ...]:
    """Draw a patient's lesions, from their own streams; the first one gives the patient's label."""
    stream = rng.generator(seed, "phantom", patient, "lesions", label)
    more = int(stream.choice(len(_MORE), p=_MORE))
    placing = _Placing.of_patient(seed, patient, difficulty)
    found: list[Lesion] = []
    for number in range(1 + more):
        own: LesionClass = "benign" if number and stream.random() < 0.5 else label
        key = (seed, "phantom", patient, "lesion", label, number)
        found.append(_draw_lesion(key, own, difficulty, placing, found))
    return tuple(found)


def _draw_lesion(
    key: tuple[object, ...], label: LesionClass, difficulty: float, placing: "_Placing", others: list[Lesion]
) -> Lesion:
    stream = rng.generator(*key)
    rare = 0.3 + 1.4 * difficulty  # weight of what is hard to see or to tell apart; 1 at difficulty 1/2
    kind = _pick(_weighted({name: item.share for name, item in KINDS[label].items()}, "focal-haze", rare), stream)
    chances = KINDS[label][kind]
    outline = _pick(chances.outline, stream)
    calcification = _pick(_weighted(chances.calcification, "none", rare if label == "benign" else 1.0), stream)
    density = _pick(_weighted(chances.density, "solid", 1 / rare), stream)
    median = _MEDIAN_MM[label] * (1.5 - difficulty) * (_FURTHER if others else 1.0)
    diameter = float(np.clip(median * math.exp(_SPREAD * stream.standard_normal()), SMALLEST_MM, LARGEST_MM))
    place = placing.choose(_pick(_weighted(CONTACTS[label], "pleura", rare), stream), diameter / 2 * MM, others, stream)
    cavity = float(stream.uniform(0.3, 0.6)) if stream.random() < chances.cavity and density == "solid" else 0.0
    shape = stream.uniform([1.0, 0.0, 0.85, -1.0], [1.3, math.pi, 1.15, 1.0])
    return Lesion(
        about=LesionProperties(
            kind, round(2 * place.radius * HALF_FIELD_MM, 1), density, outline,
            calcification if density == "solid" and not cavity else "none", place.contact,
        ),
        label=label, x=place.x, y=place.y, z=float(shape[3]) * MM, radius=place.radius,
        height=max(place.radius * float(shape[2]), 0.8 * SPAN),
        stretch=float(shape[0]), turn=float(shape[1]), cavity=cavity,
        solid=float(stream.uniform(-10, 60)), haze=float(stream.uniform(-530, -300)) - 150 * difficulty,
        core=float(stream.uniform(0.3, 0.6)), to_pleura=place.to_pleura, key=key,
    )  # fmt: skip


def _weighted(chances: Chances, name: str, weight: float) -> Chances:
    """Return chances with another weight of one name, if there are others."""
    return {other: share * (weight if other == name else 1.0) for other, share in chances.items()}


def _pick(chances: Chances, stream: np.random.Generator) -> str:
    """Draw one name by its chance."""
    names, shares = list(chances), np.array(list(chances.values()))
    return names[int(stream.choice(len(names), p=shares / shares.sum()))]


@dataclass(frozen=True)
class _Place:
    x: float
    y: float
    radius: float
    contact: Contact
    to_pleura: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class _Placing:
    """Finds points of the examined lung, on a coarse section at the patient's own level."""

    on: Frame
    depth: Field  # below the surface of the examined lung, negative outside
    vessels: Field  # (n, 2) points of vessels that a lesion can touch

    @staticmethod
    def of_patient(seed: int, patient: int, difficulty: float) -> "_Placing":
        on = patient_frame(_PLACING)
        anatomy, waves = chest.draw_anatomy(seed, patient), chest.draw_waves(seed, patient)
        depth = -chest.chest_section(anatomy, waves, 0.0, on, reach=0.3).depth
        other = on.x * examined_side(seed, patient) < 0
        tree = lung_trees.grow_trees(seed, patient, difficulty).vessels
        near = (np.abs(tree.z) < 2 * MM) & (tree.radius > 1.2 * MM)
        vessels = np.stack([tree.x[near], tree.y[near]], 1)
        return _Placing(on, np.where(other, np.minimum(depth, np.float32(-0.1)), depth), vessels)

    def choose(self, wanted: str, radius: float, others: list[Lesion], stream: np.random.Generator) -> _Place:
        """Choose a place with the contact that is wanted, or with none; the radius shrinks where no point has room."""
        on, depth = self.on, self.depth
        for item in others:  # no two lesions overlap
            depth = np.minimum(depth, np.hypot(on.x - item.x, on.y - item.y) - np.float32(item.radius + 4 * MM))
        radius = min(radius, 0.85 * float(depth.max()))
        if wanted == "vessel" and (found := self._beside_vessel(depth, radius, stream)):
            return found
        ranges = {"pleura": (0.65 * radius, 0.95 * radius), "pleural-tag": (radius + 3 * MM, radius + 18 * MM)}
        least, most = ranges.get(wanted, (1.1 * radius, np.inf))
        rows, columns = np.nonzero((depth >= least) & (depth <= most))
        contact: Contact = "pleura" if wanted == "pleura" else "pleural-tag" if wanted == "pleural-tag" else "none"
        if not len(rows):
            contact, (rows, columns) = "none", np.nonzero(depth >= min(1.1 * radius, float(depth.max())))
        chosen = int(stream.integers(len(rows)))
        at = int(rows[chosen]), int(columns[chosen])
        jitter = stream.uniform(-0.2, 0.2, 2) * on.pixel
        x, y = float(on.x[at] + jitter[0]), float(on.y[at] + jitter[1])
        return _Place(x, y, radius, contact, _to_pleura(depth, at))

    def _beside_vessel(self, depth: Field, radius: float, stream: np.random.Generator) -> _Place | None:
        """Return a place on the surface of a vessel, if one with room is found in a few trials."""
        for _ in range(12 if len(self.vessels) else 0):
            (vx, vy), angle = self.vessels[int(stream.integers(len(self.vessels)))], stream.uniform(0, 2 * math.pi)
            x, y = float(vx + radius * math.cos(angle)), float(vy + radius * math.sin(angle))
            row, column = (int(np.clip((value + 1) / self.on.pixel, 0, _PLACING - 1)) for value in (y, x))
            if depth[row, column] >= 1.05 * radius:
                return _Place(x, y, radius, "vessel", _to_pleura(depth, (row, column)))
        return None


def _to_pleura(depth: NDArray[np.float32], at: tuple[int, int]) -> tuple[float, float, float]:
    """Return the direction in which the depth falls, and the depth."""
    row, column = (min(max(value, 1), _PLACING - 2) for value in at)
    across = float(depth[row, column - 1] - depth[row, column + 1])
    down = float(depth[row - 1, column] - depth[row + 1, column])
    length = math.hypot(across, down) or 1.0
    return across / length, down / length, float(depth[at])
