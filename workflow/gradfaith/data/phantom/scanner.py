"""Turn Hounsfield units into the exported image, and plant class-correlated marks that are not disease.

The scanner adds quantum noise with a reconstruction kernel, then applies one fixed window.

    noise = irfft( white * f ** ramp * exp(-(f / cut) ** 2) ),  scaled to the scan's own standard deviation
    grey  = 255 * (HU + 1050) / 1600, rounded and clipped

Filtered back-projection leaves noise whose power rises with the frequency f (the ramp) until the kernel cuts
it off: soft kernels leave coarse, weak grain, sharp ones fine, strong grain. The grain is that of the image's
own pixels at any size. The kernel shapes the noise only; edges keep their one pixel, so that evidence stays
exact.

The marks are a corner marker, or the grain of the reconstruction kernel.

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
from numpy.typing import NDArray
from scipy import fft

from gradfaith import rng
from gradfaith.data.phantom.geometry import Field

Kernel = Literal["soft", "medium", "sharp"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
_LOW, _WIDTH = -1050.0, 1600.0


@dataclass(frozen=True)
class ScanSettings:
    """The kernel and the noise of one patient's scan."""

    cut: float  # cycles per pixel
    ramp: float
    noise: float  # standard deviation, Hounsfield units


def draw_scan_settings(seed: int, patient: int, kernel: Kernel) -> ScanSettings:
    """Draw a patient's dose and kernel, varied a little around the kernel's type."""
    stream = rng.generator(seed, "phantom", patient, "scan")
    dose, cut = stream.uniform(0.85, 1.18), stream.uniform(0.94, 1.06)
    base_cut, ramp, noise = {"soft": (0.17, 0.3, 13.0), "medium": (0.27, 0.4, 24.0), "sharp": (0.50, 0.6, 42.0)}[kernel]
    return ScanSettings(base_cut * cut, ramp, noise * dose)


@lru_cache(maxsize=16)
def _filter(size: int, ramp: float, cut: float) -> Field:  # (size, size // 2 + 1)
    """Return the filter that turns white noise into grain of unit standard deviation."""
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :])
    shape = frequency**ramp * np.exp(-((frequency / cut) ** 2))
    power = 2 * 2 * float((shape**2).sum())  # a real and an imaginary part, and the half plane that is not stored
    scaled: Field = (shape * size**2 / np.sqrt(power)).astype(np.float32)
    return scaled


def scan_noise(size: int, settings: ScanSettings, stream: np.random.Generator) -> Field:  # (size, size)
    """Draw grain in Hounsfield units."""
    shape = _filter(size, settings.ramp, settings.cut)
    white = stream.standard_normal((*shape.shape, 2), np.float32).view(np.complex64)[..., 0]
    grain: Field = fft.irfft2(white * (shape * np.float32(settings.noise)), s=(size, size))
    return grain


def export_grey(hounsfield: Field) -> NDArray[np.uint8]:
    """Apply the one display window: air black, soft tissue grey, bone bright."""
    grey = (hounsfield - np.float32(_LOW)) * np.float32(255 / _WIDTH)
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
