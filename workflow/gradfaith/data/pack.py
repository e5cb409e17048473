"""Pack a dataset into images.h5: every image decoded and fitted once, with its regions and its normalisation.

mean and std are those of the training part's pixels in [0, 1], or of all pixels if nothing is trained. The digest covers all
pixels and masks in order; files that are computed from these images contain it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.data.fit import Harmoniser, SquareFit
from gradfaith.data.manifest import records_by_id
from gradfaith.data.readers.contract import DecodedImage, Reader, Record, map_images
from gradfaith.errors import UnreadableImage
from gradfaith.storage.hdf5 import ImageWriter
from gradfaith.vocabulary import Fit

REGIONS = ("evidence", "lungs", "body", "shortcut")
PARTS = "parts"  # a number per pixel, beside the regions that are true or false
FittedImage = tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]  # pixels (c, size, size), masks by region


def pack_images(
    path: str,
    table: pd.DataFrame,
    reader: Reader,
    raw: Path | None,
    options: Any,
    *,
    size: int,
    fit: Fit,
    channels: int,
    harmonise: Harmoniser,
    threads: int = 1,
    made_from: Mapping[str, str] | None = None,
) -> None:
    """Write the store of all images of `table`, with columns image_id and part, in its order.

    `size`, `fit`, `channels` and `harmonise`: the study's key `image:`. `made_from`: digests of the input files.
    """
    by_id, fitter = records_by_id(reader, raw, options), SquareFit(size, fit)

    def fit_image(_record: Record, image: DecodedImage) -> FittedImage:
        masks: dict[str, NDArray[Any]] = {
            region: fitter.mask(mask) for region, mask in image.masks.items() if region in REGIONS
        }
        if image.parts is not None:
            masks[PARTS] = fitter.parts(image.parts)
        return harmonise(fitter.pixels(image.pixels, channels)), masks

    digest, trains = hashlib.sha256(), bool((table["part"] == "train").any())
    tally = np.zeros(256, dtype=np.int64)  # counts of grey values: sums over them are exact for any number of images
    stamp = {"size": size, "fit": fit, "channels": channels, "harmonise": asdict(harmonise)}
    records = ((by_id[image], part) for image, part in zip(table["image_id"], table["part"], strict=True))
    with ImageWriter(
        path, list(table["image_id"]), (*REGIONS, PARTS), (channels, size, size), stamp, made_from
    ) as store:
        for row, (_, found) in enumerate(map_images(reader, raw, options, records, fit_image, threads)):
            if isinstance(found, UnreadableImage):
                raise found  # it was readable when the manifest was made
            pixels, masks = found
            store.put(row, pixels, masks)
            digest.update(pixels.tobytes())
            for region in sorted(masks):
                mask = masks[region] if region == PARTS else np.packbits(masks[region])
                digest.update(region.encode() + mask.tobytes())
            if table["part"].iloc[row] == "train" or not trains:
                tally += np.bincount(pixels.ravel(), minlength=256)
        mean, std = _mean_and_std(tally)
        store.describe(mean=mean, std=max(std, 1e-3), digest=digest.hexdigest())


def _mean_and_std(tally: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and standard deviation of grey values in [0, 1]; `tally`: (256,) counts of grey values."""
    grey = np.arange(256) / 255
    mean = float((tally * grey).sum() / tally.sum())
    return mean, float(np.sqrt((tally * (grey - mean) ** 2).sum() / tally.sum()))
