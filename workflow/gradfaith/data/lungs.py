"""Find the lungs in a grey axial CT slice: the air inside the body.

    body  = the largest region brighter than halfway between air and soft tissue, with its holes filled
    lungs = the dark area in the body's holes, without specks

No model and no windowing is assumed: halfway is Otsu's threshold. A slice without a body that contains air has no lungs. The
mask is good enough for removing or framing the lungs, but not for measurements. Cost: about 5 ms at 256 x 256.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SPECK_SHARE = 0.002  # share of the image below which a dark region is bowel gas, or noise
LUNG_SHARE = 0.005  # minimum share of the image for lungs


def body_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_]:  # (h, w) -> (h, w)
    """Return the patient without the couch, including the lungs; empty if there is no contrast."""
    bright = ndimage.binary_opening(image > otsu_threshold(image), np.ones((3, 3)))
    largest = _largest_component(bright)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(largest)
    return filled


def lung_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_]:  # (h, w) -> (h, w)
    """Return the air inside the body; empty if it is too little for lungs."""
    whole = body_mask(image)
    inside = ndimage.binary_erosion(whole, np.ones((3, 3)))
    dark = ndimage.binary_opening(inside & (image <= otsu_threshold(image)), np.ones((3, 3)))
    regions, count = ndimage.label(dark)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    kept = np.flatnonzero(sizes >= SPECK_SHARE * image.size)
    found: NDArray[np.bool_] = np.isin(regions, kept[kept > 0])
    return found if found.sum() >= LUNG_SHARE * image.size else np.zeros(image.shape, dtype=bool)


def otsu_threshold(image: NDArray[np.uint8]) -> int:
    """Return the grey value that separates an image's values with the largest variance between them."""
    counts = np.bincount(image.ravel(), minlength=256).astype(np.float64)
    below, total = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return int(np.nan_to_num(between).argmax())


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    regions, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    found: NDArray[np.bool_] = regions == sizes.argmax()
    return found
