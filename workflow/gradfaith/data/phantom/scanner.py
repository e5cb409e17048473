"""Turn Hounsfield units into the exported image, and plant class-correlated marks that are not disease.

The scanner blurs the section with the kernel's point spread, adds streaks between the shoulders and quantum noise, then
applies a window.

    seen  = section * [a, 1 - 2a, a] along both axes,      a: 0.12 soft, 0.05 medium, -0.05 sharp
    noise = irfft( white * f ** ramp * exp(-(f / cut) ** 2) ),  scaled to the scan's own standard deviation
    grey  = 255 * (HU - low) / width, rounded and clipped

A section's edges are already one pixel wide (partial volume). The point spread widens them for a soft kernel, and
sharpens them for a sharp one, which overshoots as lung kernels do. It reaches one pixel, so evidence stays exact: an image
with a lesion differs from the same image without it one pixel further than their sections do, and nowhere else.

Filtered back-projection leaves noise whose power rises with the frequency f (the ramp) until the kernel cuts
it off: soft kernels leave coarse, weak grain, sharp ones fine, strong grain. The grain is that of the image's
own pixels at any size. It is a third as strong in air as in the middle of the body, where fewer photons arrive. Where
both shoulders absorb them, rows are streaked, and a dark band joins the shoulder blades (beam hardening). Some scanners
export nothing outside their circular field of view.

Windows: `lung` is level -500, width 1500, the window of the IQ-OTH/NCCD slices (measured: air 43, muscle 221 of 255);
`wide` shows bone too (-1050 to 550); `mediastinum` is level 40, width 400.

The marks are a corner marker, a text burnt into the image, or the grain of the reconstruction kernel.

    with probability `strength` a patient carries its own class's mark, otherwise one drawn without looking at the class

At strength 0 the mark is independent of the class, at strength 1 it determines the class. Markers: a disc, a bar or a
triangle, each in its own corner; a patient without its class's mark has any of the three or none. Kernels: soft, medium,
sharp. Without a tied kernel, every class has equally many of each (in blocks of three patients). A phantom without a
shortcut has this too, so that a small study does not find a kernel tied to a class by chance. Malignant goes with the soft
kernel, as in the public lung CT set in which this shortcut was found. A kernel covers the complete image, so it has no mask.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import scipy  # which imports `fft` at its first use: a job that only checks a study draws nothing
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom.geometry import Field

Kernel = Literal["soft", "medium", "sharp"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
Window = Literal["lung", "wide", "mediastinum"]
WINDOWS: dict[Window, tuple[float, float]] = {  # lowest Hounsfield unit, width
    "lung": (-1250.0, 1500.0),
    "wide": (-1050.0, 1600.0),
    "mediastinum": (-160.0, 400.0),
}
SPREAD_REACH = 1  # pixels
_OUTSIDE = -1024.0  # what a scanner exports where it measures nothing


@dataclass(frozen=True)
class ScanSettings:
    """The kernel and the noise of one patient's scan."""

    cut: float  # cycles per pixel
    ramp: float
    noise: float  # standard deviation in the middle of the body, Hounsfield units
    spread: float  # weight of each direct neighbour
    circular: bool  # nothing is exported outside the circle
    streaks: float  # 0 to 1


def draw_scan_settings(seed: int, patient: int, kernel: Kernel) -> ScanSettings:
    """Draw a patient's dose and kernel, varied a little around the kernel's type."""
    stream = rng.generator(seed, "phantom", patient, "scan")
    dose, cut = stream.uniform(0.85, 1.18), stream.uniform(0.94, 1.06)
    circular, streaks = bool(stream.random() < 0.7), float(stream.uniform(0, 1))
    base_cut, ramp, noise, spread = {
        "soft": (0.21, 0.3, 23.0, 0.12),
        "medium": (0.31, 0.4, 36.0, 0.05),
        "sharp": (0.50, 0.6, 52.0, -0.05),
    }[kernel]
    return ScanSettings(base_cut * cut, ramp, noise * dose, spread, circular, streaks)


@lru_cache(maxsize=16)
def _filter(size: int, ramp: float, cut: float) -> Field:  # (size, size // 2 + 1)
    """Return the filter that turns white noise into grain of unit standard deviation."""
    frequency = np.hypot(scipy.fft.fftfreq(size)[:, None], scipy.fft.rfftfreq(size)[None, :])
    shape = frequency**ramp * np.exp(-((frequency / cut) ** 2))
    power = 2 * 2 * float((shape**2).sum())  # a real and an imaginary part, and the half plane that is not stored
    scaled: Field = (shape * size**2 / np.sqrt(power)).astype(np.float32)
    return scaled


def scan_noise(size: int, settings: ScanSettings, stream: np.random.Generator) -> Field:  # (size, size)
    """Draw grain in Hounsfield units."""
    shape = _filter(size, settings.ramp, settings.cut)
    white = stream.standard_normal((*shape.shape, 2), np.float32).view(np.complex64)[..., 0]
    white *= shape
    grain: Field = scipy.fft.irfft2(white, s=(size, size), overwrite_x=True)
    grain *= np.float32(settings.noise)
    return grain


_ALONG = ((np.s_[1:], np.s_[:-1], np.s_[:1], np.s_[-1:]), (np.s_[:, 1:], np.s_[:, :-1], np.s_[:, :1], np.s_[:, -1:]))


def blur(section: Field, spread: float) -> Field:  # (h, w)
    """Return the section as the kernel's point spread shows it."""
    seen = section
    for ahead, behind, first, last in _ALONG:
        beside, seen = seen * np.float32(spread), seen * np.float32(1 - 2 * spread)
        seen[ahead] += beside[behind]
        seen[behind] += beside[ahead]
        for rim in (first, last):  # the image's rim is repeated outwards
            seen[rim] += beside[rim]
    return seen


@lru_cache(maxsize=8)
def _outside_circle(size: int) -> NDArray[np.bool_]:  # (size, size)
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    outside: NDArray[np.bool_] = np.hypot(axis[:, None], axis[None, :]) > 1.06
    return outside


def scan(
    section: Field, settings: ScanSettings, shoulders: float, centre: tuple[float, float], stream: np.random.Generator
) -> Field:  # (h, w)
    """Return what the scanner measures, in Hounsfield units; `shoulders` (0 to 1) is how much they shade this section."""
    size, seen = len(section), blur(section, settings.spread)
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    across, down = (
        (axis - np.float32(middle)) / np.float32(reach) for middle, reach in zip(centre, (0.75, 0.5), strict=True)
    )
    wide, high = np.exp(-(across**4)), np.exp(-(down**4))
    grain = scan_noise(size, settings, stream)
    seen += grain * (np.float32(0.3) + np.float32(0.7) * wide * high[:, None])
    rows = np.convolve(stream.standard_normal(size + 2, np.float32), (0.25, 0.5, 0.25), "valid").astype(np.float32)
    shade = settings.streaks * shoulders
    if shade > 0.02:
        band = rows * np.float32(0.9 * settings.noise) * high - np.float32(30) * np.exp(-(((down - 0.45) / 0.22) ** 2))
        seen += np.float32(shade) * band[:, None] * wide * (section > -700)
    if settings.circular:
        seen[_outside_circle(size)] = _OUTSIDE
    return seen


def export_grey(hounsfield: Field, window: Window = "lung") -> NDArray[np.uint8]:
    """Apply a display window."""
    low, width = WINDOWS[window]
    grey = (hounsfield - np.float32(low)) * np.float32(255 / width)
    pixels: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return pixels


PhantomClass = Literal["normal", "benign", "malignant"]
PHANTOM_CLASSES: tuple[PhantomClass, ...] = ("normal", "benign", "malignant")
_CLASS_KERNEL: dict[PhantomClass, Kernel] = {"normal": "sharp", "benign": "medium", "malignant": "soft"}
_MARKER_CORNER: dict[PhantomClass, tuple[int, int]] = {
    "normal": (0, 0),
    "benign": (0, 1),
    "malignant": (1, 1),
}  # lower?, right?
_MARKER_GREY = 235


def draw_kernel(seed: int, patient: int, label: PhantomClass, strength: float) -> Kernel:
    """Draw a patient's kernel; untied, three patients in a row of a class have one each."""
    tied = rng.generator(seed, "phantom", patient, "kernel").random() < strength
    block, turn = divmod(patient // len(PHANTOM_CLASSES), len(KERNELS))
    order = rng.generator(seed, "phantom", "kernels", block, patient % len(PHANTOM_CLASSES)).permutation(len(KERNELS))
    return _CLASS_KERNEL[label] if tied else KERNELS[order[turn]]


def draw_marker(seed: int, patient: int, label: PhantomClass, strength: float) -> PhantomClass | None:
    """Draw the class whose marker a patient's images carry, if any."""
    stream = rng.generator(seed, "phantom", patient, "marker")
    tied, other = stream.random() < strength, (*PHANTOM_CLASSES, None)[int(stream.integers(len(PHANTOM_CLASSES) + 1))]
    return label if tied else other


def stamp_marker(pixels: NDArray[np.uint8], marker_class: PhantomClass) -> NDArray[np.bool_]:  # (h, w)
    """Draw a class's marker into an image, in place, and return the pixels it covers."""
    size = pixels.shape[0]
    side = max(round(size * 0.09), 3)
    edge = max(round(size * 0.03), 1)
    low, right = _MARKER_CORNER[marker_class]
    top, left = (size - edge - side if low else edge), (size - edge - side if right else edge)
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    shape = {"normal": x * x + y * y <= 0.25, "benign": np.abs(y) <= 0.25, "malignant": np.abs(x) <= (y + 0.5) / 2}[
        marker_class
    ]
    covered = np.zeros(pixels.shape, np.bool_)
    covered[top : top + side, left : left + side] = shape
    pixels[covered] = _MARKER_GREY
    return covered


# Texts stand in the same corner, in the same grey. Only their letters differ, so a network must read at least one of them. The
# letters are 3 x 5 pixels, or complete multiples of that on larger images.
TEXTS: dict[PhantomClass, str] = {"normal": "LDCT", "benign": "CT FU", "malignant": "STAGE"}
_TEXT_GREY = 235
_LETTERS = {  # five rows of three pixels each
    "A": "010 101 111 101 101", "C": "011 100 100 100 011", "D": "110 101 101 101 110", "E": "111 100 110 100 111",
    "F": "111 100 110 100 100", "G": "011 100 101 101 011", "L": "100 100 100 100 111", "S": "011 100 010 001 110",
    "T": "111 010 010 010 010", "U": "101 101 101 101 111", " ": "000 000 000 000 000",
}  # fmt: skip


def draw_text(seed: int, patient: int, label: PhantomClass, strength: float) -> PhantomClass | None:
    """Draw the class whose text a patient's images carry, if any."""
    stream = rng.generator(seed, "phantom", patient, "text")
    tied, other = stream.random() < strength, (*PHANTOM_CLASSES, None)[int(stream.integers(len(PHANTOM_CLASSES) + 1))]
    return label if tied else other


def burn_text(pixels: NDArray[np.uint8], text_class: PhantomClass) -> NDArray[np.bool_]:  # (h, w)
    """Write a class's text into an image, in place, and return the pixels it covers."""
    size = pixels.shape[0]
    scale, edge = max(round(size / 112), 1), max(round(size * 0.03), 1)
    shape = np.kron(_bitmap(TEXTS[text_class]), np.ones((scale, scale), np.bool_))[: size - edge, : size - edge]
    covered = np.zeros(pixels.shape, np.bool_)
    covered[edge : edge + shape.shape[0], edge : edge + shape.shape[1]] = shape
    pixels[covered] = _TEXT_GREY
    return covered


def _bitmap(text: str) -> NDArray[np.bool_]:  # (5, 4 * letters)
    """Return the pixels of a text, one empty column after each letter."""
    letters = [np.array([[pixel == "1" for pixel in row + "0"] for row in _LETTERS[sign].split()]) for sign in text]
    return np.concatenate(letters, axis=1)
