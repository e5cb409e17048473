"""images.h5: every image decoded and fitted once, with its regions, and the numbers that normalise them.

mean and std are those of the training part's pixels in [0, 1], of all pixels where nothing is trained on. The digest is
over all pixels and masks in order: what stands on these images says so by it.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.data.fit import Fit, Harmonise
from gradfaith.data.manifest import records
from gradfaith.data.readers.contract import Picture, Reader, Record, each
from gradfaith.errors import UnreadableImage
from gradfaith.storage.hdf5 import ImageWriter

REGIONS = ("evidence", "lungs", "body", "shortcut")
PARTS = "parts"  # a number per pixel, beside the regions that are true or false
Fitted = tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]


def pack_images(
    path: str,
    table: pd.DataFrame,
    reader: Reader,
    raw: Path | None,
    options: Any,
    *,
    size: int,
    fit: Any,
    channels: int,
    harmonise: Mapping[str, Any],
    threads: int = 1,
) -> None:
    """Write the store; `table` holds image_id and part."""
    known, fitter, smooth = records(reader, raw, options), Fit(size, fit), Harmonise(**harmonise)

    def fitted(_record: Record, picture: Picture) -> Fitted:
        masks: dict[str, NDArray[Any]] = {
            region: fitter.mask(mask) for region, mask in picture.masks.items() if region in REGIONS
        }
        if picture.parts is not None:
            masks[PARTS] = fitter.parts(picture.parts)
        return smooth(fitter.pixels(picture.pixels, channels)), masks

    whole, trains = hashlib.sha256(), bool((table["part"] == "train").any())
    tally = np.zeros(256, dtype=np.int64)  # of grey values: sums over it are exact, whatever the number of images
    stamp = {"size": size, "fit": fit, "channels": channels, "harmonise": dict(harmonise)}
    wanted = ((known[image], part) for image, part in zip(table["image_id"], table["part"], strict=True))
    with ImageWriter(path, list(table["image_id"]), (*REGIONS, PARTS), (channels, size, size), stamp) as store:
        for row, (_, found) in enumerate(each(reader, raw, options, wanted, fitted, threads)):
            if isinstance(found, UnreadableImage):
                raise found  # it was readable when the manifest was made
            pixels, masks = found
            store.put(row, pixels, masks)
            whole.update(pixels.tobytes())
            for region in sorted(masks):
                mask = masks[region] if region == PARTS else np.packbits(masks[region])
                whole.update(region.encode() + mask.tobytes())
            if table["part"].iloc[row] == "train" or not trains:
                tally += np.bincount(pixels.ravel(), minlength=256)
        mean, std = _moments(tally)
        store.describe(mean=mean, std=max(std, 1e-3), digest=whole.hexdigest())


def _moments(tally: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation of grey values in [0, 1]."""
    grey = np.arange(256) / 255
    mean = float((tally * grey).sum() / tally.sum())
    return mean, float(np.sqrt((tally * (grey - mean) ** 2).sum() / tally.sum()))
