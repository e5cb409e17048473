"""Fit an image and its masks to the study's square size, and harmonise its pixels.

Fitting (`SquareFit`) is one transform for an image and its masks:

    pad     to a square with the image's own border value (its median); crop: to the centre square
    pixels  antialiased bilinear
    masks   area coverage of at least a half, and never empty if the original mask is not
    parts   a pixel that parts cover by half belongs to the part that covers most of it, and no part is lost

An image that already has this size stays bit-identical.

Harmonisation (`Harmoniser`) reduces a scanner's signature in the pixels by the same steps for every image:

    pixels -> Gaussian(sigma) -> down to `resample` and back (area, then bilinear) -> JPEG(quality) and back

A reconstruction kernel has noise with its own grain. If kernels depend on the class (as in IQ-OTH/NCCD), a network can read
the class from the grain. Harmonisation removes the same frequencies from all images; the audit's shortcut probe measures the
remaining signal before and after. Masks are not changed, because no step moves pixels. Cost: about 1 ms for 224 x 224.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from gradfaith.vocabulary import Fit


@dataclass(frozen=True)
class SquareFit:
    """Makes images and masks square, `size` pixels across, by padding or cropping."""

    size: int
    mode: Fit

    def pixels(
        self, image: NDArray[np.uint8], channels: int
    ) -> NDArray[np.uint8]:  # (h, w) or (h, w, 3) -> (c, size, size)
        """Fit an image, with the number of `channels` of the study's images."""
        planes = [image] if image.ndim == 2 else [image[..., plane] for plane in range(3)]
        if len(planes) != channels:
            planes = [_to_grey(image)] if channels == 1 else planes * 3
        return np.stack([self._plane(plane) for plane in planes])

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:  # (h, w) -> (size, size)
        """Fit a mask by area coverage."""
        square = self._square(mask, fill=False)
        if square.shape == (self.size, self.size):
            return square
        coverage = self._coverage(square)
        fitted = coverage >= 0.5
        if square.any() and not fitted.any():
            fitted = coverage == coverage.max()  # a lesion below half a pixel keeps the pixel that it covers most
        return fitted

    def parts(self, parts: NDArray[np.uint8]) -> NDArray[np.uint8]:  # (h, w) -> (size, size)
        """Fit a label map of parts."""
        square = self._square(parts, fill=0)
        if square.shape == (self.size, self.size):
            return square
        labels = np.unique(square[square > 0])
        if not len(labels):
            return np.zeros((self.size, self.size), dtype=np.uint8)
        coverage = np.stack([self._coverage(square == label) for label in labels])  # (k, size, size)
        fitted = np.where(coverage.sum(axis=0) >= 0.5 - 1e-6, labels[coverage.argmax(axis=0)], 0).astype(np.uint8)
        for label, share in zip(labels, coverage, strict=True):
            if not (fitted == label).any():
                fitted.flat[share.argmax()] = label
        return fitted

    def _coverage(self, square: NDArray[np.bool_]) -> NDArray[np.float32]:
        image = Image.fromarray(square.astype(np.float32))
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BOX))

    def _plane(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        square = self._square(plane, fill=border_grey(plane))
        if square.shape == (self.size, self.size):
            return square
        return np.asarray(Image.fromarray(square).resize((self.size, self.size), Image.Resampling.BILINEAR))

    def _square(self, plane: NDArray[Any], fill: int | bool) -> NDArray[Any]:
        height, width = plane.shape
        side = max(height, width) if self.mode == "pad" else min(height, width)
        if self.mode == "pad":
            top, left = (side - height) // 2, (side - width) // 2
            return np.pad(plane, ((top, side - height - top), (left, side - width - left)), constant_values=fill)
        top, left = (height - side) // 2, (width - side) // 2
        return plane[top : top + side, left : left + side]


def border_grey(plane: NDArray[np.uint8]) -> int:
    """Return the median of the outermost pixels: the grey that surrounds a scan."""
    rim = np.concatenate([plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]])
    return int(np.median(rim))


def _to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).convert("L"))


@dataclass(frozen=True)
class Harmoniser:
    """The steps of harmonisation, in order; the defaults change nothing."""

    low_pass: float = 0.0  # sigma in pixels
    resample: int | None = None  # side in pixels
    jpeg: int | None = None  # quality

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:  # (c, h, w) -> (c, h, w)
        return np.stack([self._plane(plane) for plane in pixels])

    def _plane(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:  # (h, w)
        if self.low_pass:
            blurred = gaussian_filter(plane.astype(np.float32), self.low_pass, mode="nearest")
            plane = np.clip(np.rint(blurred), 0, 255).astype(np.uint8)
        image = Image.fromarray(plane)
        if self.resample:
            small = image.resize((self.resample, self.resample), Image.Resampling.BOX)
            image = small.resize(image.size, Image.Resampling.BILINEAR)
        if self.jpeg:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=self.jpeg)
            image = Image.open(buffer)
        return np.asarray(image)
