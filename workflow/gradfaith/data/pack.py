"""Pack a dataset into images.h5: every image decoded and fitted once, with its regions and its normalisation.

mean and std are those of the training part's pixels in [0, 1], or of all pixels if nothing is trained. The digest covers all
pixels, masks and images without parts in order; files that are computed from these images contain it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.data.fit import Harmoniser, SquareFit
from gradfaith.data.manifest import records_by_id
from gradfaith.data.readers.contract import DecodedImage, PartSet, Reader, Record, Renders, map_images
from gradfaith.errors import UnreadableImage
from gradfaith.storage.hdf5 import ImageWriter, RenderRow
from gradfaith.vocabulary import Fit

REGIONS = ("evidence", "lungs", "body", "shortcut")
PARTS = "parts"  # a number per pixel, beside the regions that are true or false


@dataclass(frozen=True)
class FittedImage:
    """One image at the study's size."""

    pixels: NDArray[np.uint8]  # (c, size, size)
    masks: Mapping[str, NDArray[Any]]  # (size, size) by region
    renders: Sequence[RenderRow] = ()
    contrast: Sequence[str] = ()


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

        def fit_pixels(plain: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return harmonise(fitter.pixels(plain, channels))

        drawn = image.renders
        renders = [] if drawn is None else [_fit_render(drawn, removed, fit_pixels) for removed in drawn.without]
        contrast = [] if drawn is None else [label for label, _ in drawn.contrast]
        return FittedImage(fit_pixels(image.pixels), masks, renders, contrast)

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
            store.put(row, found.pixels, found.masks)
            digest.update(found.pixels.tobytes())
            for region in sorted(found.masks):
                mask = found.masks[region] if region == PARTS else np.packbits(found.masks[region])
                digest.update(region.encode() + mask.tobytes())
            store.put_renders(row, found.renders, found.contrast)
            for render in found.renders:
                digest.update(
                    f"{render.removed} {render.sufficient} {render.shared}".encode() + render.pixels.tobytes()
                )
            digest.update("".join(found.contrast).encode())
            if table["part"].iloc[row] == "train" or not trains:
                tally += np.bincount(found.pixels.ravel(), minlength=256)
        mean, std = _mean_and_std(tally)
        store.describe(mean=mean, std=max(std, 1e-3), digest=digest.hexdigest())


def _fit_render(renders: Renders, removed: PartSet, fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> RenderRow:
    """Return an image without some parts: what is left names the class, and which contrast class shares what was removed."""
    shared = [parts for _, parts in renders.contrast]
    which = shared.index(removed) + 1 if removed in shared else 0
    return RenderRow(removed, fit(renders.without[removed]()), removed in renders.sufficient, which)


def _mean_and_std(tally: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and standard deviation of grey values in [0, 1]; `tally`: (256,) counts of grey values."""
    grey = np.arange(256) / 255
    mean = float((tally * grey).sum() / tally.sum())
    return mean, float(np.sqrt((tally * (grey - mean) ** 2).sum() / tally.sum()))
