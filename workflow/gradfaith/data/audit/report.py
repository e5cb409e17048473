"""Audit a dataset and its split: counts from the manifest, probes from the packed images and from their files.

leakage_check.py decides from the audit whether a study may use its split.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from gradfaith.config.job_settings import AuditSettings
from gradfaith.data.audit import checks, shortcuts
from gradfaith.data.fetch import release
from gradfaith.data.fit import Harmoniser, SquareFit
from gradfaith.data.manifest import readable_rows, records_by_id
from gradfaith.data.readers.contract import DecodedImage, Reader, Record, map_images
from gradfaith.errors import UnreadableImage
from gradfaith.storage.atomic import new_rows
from gradfaith.storage.hdf5 import ImageStore

BLOCK_IMAGES = 256


def audit_dataset(
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    images: ImageStore,
    reader: Reader,
    raw: Path | None,
    settings: AuditSettings,
    groups: Mapping[str, Any] | None,
    *,
    trained: pd.DataFrame | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Return the complete audit as plain values, for audit.json.

    `images` is the packed store, `reader` and `raw` lead to the original files;
    `groups` is the report on inferred groups. `trained`: image hashes and parts of the study from which an
    external evaluation takes its models.
    """
    table = readable_rows(manifest).merge(splits, on="image_id")
    seed = settings.split.seed
    small = np.empty((len(table), checks.PROBE_SIDE, checks.PROBE_SIDE), dtype=np.float32)
    middle = new_rows((len(table), 128, 128), np.uint8)  # in a temporary file, if they are many
    packed, lung_share = [], list[NDArray[np.float32]]()
    for start in range(0, len(table), BLOCK_IMAGES):
        pixels = images.pixels(list(table["image_id"].iloc[start : start + BLOCK_IMAGES]))
        some = slice(start, start + len(pixels))
        small[some] = [checks.probe_image(image) for image in pixels]
        middle[some] = np.stack([_resize_to_128(image) for image in pixels])
        packed += [shortcuts.image_features(image[0]) for image in pixels]
        lung_share.append(checks.lung_share(pixels) * len(pixels))
    air = np.sum(lung_share, axis=0) / len(table)
    stages = {"as the model sees it": pd.DataFrame(packed)}
    if raw is not None:
        stages = _features_by_stage(table, reader, raw, settings, threads) | stages
    return {
        **checks.count_images(manifest),
        "release": _release_text(manifest, settings.files),
        "claimed": dict(settings.claimed),
        "inferred": checks.summarise_grouping(groups),
        "duplicates": checks.exact_duplicates(readable_rows(manifest)),
        "near_duplicates": checks.near_duplicates(middle, table),
        "seen_before": checks.overlap_with_training(readable_rows(manifest), settings.external, trained),
        "leakage": checks.leakage_probe(small, air, table, settings.split, seed),
        "shortcuts": {
            stage: shortcuts.shortcut_probe(found, table["label"], table["group"], seed)
            for stage, found in stages.items()
        },
        "harmonised": _is_harmonised(settings),
    }


def _features_by_stage(
    table: pd.DataFrame, reader: Reader, raw: Path, settings: AuditSettings, threads: int
) -> dict[str, pd.DataFrame]:
    """Return features of the images in their files, and of fitted ones before any harmonisation."""
    options, fitter = reader.Options(**settings.options), SquareFit(settings.size, settings.fit)
    smoothed = _is_harmonised(settings)

    def measure(_record: Record, image: DecodedImage) -> tuple[dict[str, float], dict[str, float]]:
        grey = image.pixels if image.pixels.ndim == 2 else image.pixels[..., 1]
        return shortcuts.image_features(grey), shortcuts.image_features(
            fitter.pixels(image.pixels, settings.channels)[0]
        ) if smoothed else {}

    by_id = records_by_id(reader, raw, options)
    found = []
    for _, features in map_images(
        reader, raw, options, ((by_id[image], None) for image in table["image_id"]), measure, threads
    ):
        if isinstance(features, UnreadableImage):
            raise features
        found.append(features)
    native = pd.concat([pd.DataFrame([one for one, _ in found]), shortcuts.file_features(table)], axis=1)
    fitted = {"before harmonisation": pd.DataFrame([other for _, other in found])} if smoothed else {}
    return {"in the files": native} | fitted


def _is_harmonised(settings: AuditSettings) -> bool:
    return Harmoniser(**settings.harmonise.model_dump()) != Harmoniser()


def _resize_to_128(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:  # (c, h, w) -> (128, 128)
    return np.asarray(Image.fromarray(pixels[0]).resize((128, 128), Image.Resampling.BOX))


def _release_text(manifest: pd.DataFrame, files: str) -> str:
    """Describe which copy of a release the files are."""
    if not files:
        return ""
    names = {PurePosixPath(file).name: sha for file, sha in zip(manifest["file"], manifest["sha256"], strict=True)}
    return release.match_release(names, Path(files)).text
