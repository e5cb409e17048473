"""From Hounsfield units to the exported picture: quantum noise with a reconstruction kernel, then one fixed window.

    noise = irfft( white * f ** ramp * exp(-(f / cut) ** 2) ),  scaled to the scan's own standard deviation
    grey  = 255 * (HU + 1050) / 1600, rounded and clipped

Filtered back-projection leaves noise whose power rises with the frequency f (the ramp) until the kernel cuts it off:
soft kernels leave coarse, weak grain, sharp ones fine, strong grain. The grain is that of the image's own pixels at any
size. The kernel shapes the noise only; edges keep their one pixel, so that evidence stays exact.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from gradfaith import rng
from gradfaith.data.phantom.frame import Field

Kernel = Literal["soft", "medium", "sharp"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
_LOW, _WIDTH = -1050.0, 1600.0


@dataclass(frozen=True)
class Scan:
    """How one patient was scanned."""

    cut: float  # cycles per pixel
    ramp: float
    noise: float  # standard deviation, Hounsfield units


def scan(seed: int, patient: int, kernel: Kernel) -> Scan:
    """A patient's dose and kernel, varied a little around the kernel's type."""
    stream = rng.generator(seed, "phantom", patient, "scan")
    dose, cut = stream.uniform(0.85, 1.18), stream.uniform(0.94, 1.06)
    base_cut, ramp, noise = {"soft": (0.17, 0.3, 13.0), "medium": (0.27, 0.4, 24.0), "sharp": (0.50, 0.6, 42.0)}[kernel]
    return Scan(base_cut * cut, ramp, noise * dose)


@lru_cache(maxsize=16)
def _filter(size: int, ramp: float, cut: float) -> Field:  # (size, size // 2 + 1)
    """What turns white noise into grain of unit standard deviation."""
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :])
    shape = frequency**ramp * np.exp(-((frequency / cut) ** 2))
    power = 2 * 2 * float((shape**2).sum())  # a real and an imaginary part, and the half plane that is not stored
    scaled: Field = (shape * size**2 / np.sqrt(power)).astype(np.float32)
    return scaled


def noise(size: int, how: Scan, stream: np.random.Generator) -> Field:  # (size, size)
    """Grain in Hounsfield units."""
    shape = _filter(size, how.ramp, how.cut)
    white = stream.standard_normal((*shape.shape, 2), np.float32).view(np.complex64)[..., 0]
    grain: Field = fft.irfft2(white * (shape * np.float32(how.noise)), s=(size, size))
    return grain


def export(hounsfield: Field) -> NDArray[np.uint8]:
    """The one display window: air black, soft tissue grey, bone bright."""
    grey = (hounsfield - np.float32(_LOW)) * np.float32(255 / _WIDTH)
    pixels: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return pixels
