"""images.h5: every image decoded and fitted once, with its regions, and the numbers that normalise them.

mean and std are those of the training part's pixels in [0, 1], of all pixels where nothing is trained on. The digest is
over all pixels and masks in order: what stands on these images says so by it.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.data.fit import Fit
from gradfaith.data.manifest import records
from gradfaith.data.readers.contract import Reader
from gradfaith.stores import ImageWriter

REGIONS = ("evidence", "lungs", "body", "shortcut")


def pack(
    path: str,
    table: pd.DataFrame,
    reader: Reader,
    raw: Path | None,
    options: Any,
    *,
    size: int,
    fit: Any,
    channels: int,
) -> None:
    """Write the store; `table` holds image_id and part."""
    known, fitter = records(reader, raw, options), Fit(size, fit)
    whole, count, total, squares = hashlib.sha256(), 0, 0.0, 0.0
    trains = bool((table["part"] == "train").any())
    stamp = {"size": size, "fit": fit, "channels": channels}
    with ImageWriter(path, list(table["image_id"]), REGIONS, (channels, size, size), stamp) as store:
        for row, (image, part) in enumerate(zip(table["image_id"], table["part"], strict=True)):
            picture = reader.read(raw, options, known[image], part)
            pixels = fitter.pixels(picture.pixels, channels)
            masks = {region: fitter.mask(mask) for region, mask in picture.masks.items() if region in REGIONS}
            store.put(row, pixels, masks)
            whole.update(pixels.tobytes())
            for region in sorted(masks):
                whole.update(region.encode() + np.packbits(masks[region]).tobytes())
            if part == "train" or not trains:
                unit = pixels.astype(np.float64) / 255
                count, total, squares = count + unit.size, total + unit.sum(), squares + (unit**2).sum()
        mean = total / count
        store.describe(
            mean=mean, std=max(float(np.sqrt(max(squares / count - mean**2, 0.0))), 1e-3), digest=whole.hexdigest()
        )
