"""Puts the audit together: counts from the manifest, probes from the packed images and, where files lie behind them, from these."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from gradfaith.data import audit, leakage, release, shortcuts
from gradfaith.data.fit import Fit
from gradfaith.data.harmonise import Harmonise
from gradfaith.data.manifest import records, usable
from gradfaith.data.readers.contract import Picture, Reader, Record
from gradfaith.data.reading import each
from gradfaith.errors import UnreadableImage
from gradfaith.stores import Images

BLOCK = 256


def run(
    manifest: pd.DataFrame,
    splits: pd.DataFrame,
    images: Images,
    reader: Reader,
    raw: Path | None,
    asked: Mapping[str, Any],
    groups: Mapping[str, Any] | None,
    *,
    trained: pd.DataFrame | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """The whole audit as plain values; `trained`: images and parts of the study that an external evaluation takes its models from."""
    table = usable(manifest).merge(splits, on="image_id")
    seed = asked["split"]["seed"]
    small = np.empty((len(table), leakage.SIDE, leakage.SIDE), dtype=np.float32)
    middle = np.empty((len(table), 128, 128), dtype=np.uint8)
    packed, lung_share = [], list[NDArray[np.float32]]()
    for start in range(0, len(table), BLOCK):
        pixels = images.pixels(list(table["image_id"].iloc[start : start + BLOCK]))
        for row, picture in enumerate(pixels, start):
            small[row], middle[row] = leakage.thumb(picture), _at128(picture)
        packed += [shortcuts.features(picture[0]) for picture in pixels]
        lung_share.append(leakage.air_share(pixels) * len(pixels))
    air = np.sum(lung_share, axis=0) / len(table)
    stages = {"as the model sees it": pd.DataFrame(packed)}
    if raw is not None:
        stages = _native(table, reader, raw, asked, threads) | stages
    return {
        **audit.counts(manifest),
        "release": _release(manifest, asked["files"]),
        "claimed": dict(asked["claimed"]),
        "inferred": audit.groups_named(groups),
        "duplicates": audit.duplicates(usable(manifest)),
        "near_duplicates": audit.near_duplicates(middle, table),
        "seen_before": audit.seen_before(usable(manifest), asked["external"], trained),
        "leakage": leakage.probe(small, air, table, asked["split"], seed),
        "shortcuts": {
            stage: shortcuts.probe(found, table["label"], table["group"], seed) for stage, found in stages.items()
        },
        "harmonised": asked["harmonise"] != Harmonise().__dict__,
    }


def _native(
    table: pd.DataFrame, reader: Reader, raw: Path, asked: Mapping[str, Any], threads: int
) -> dict[str, pd.DataFrame]:
    """Features of the files' own pictures, and of fitted ones before harmonisation where there is any."""
    options, fitter = reader.Options(**asked["options"]), Fit(asked["size"], asked["fit"])
    smoothed = asked["harmonise"] != Harmonise().__dict__

    def both(_record: Record, picture: Picture) -> tuple[dict[str, float], dict[str, float]]:
        grey = picture.pixels if picture.pixels.ndim == 2 else picture.pixels[..., 1]
        return shortcuts.features(grey), shortcuts.features(
            fitter.pixels(picture.pixels, asked["channels"])[0]
        ) if smoothed else {}

    known = records(reader, raw, options)
    found = []
    for _, seen in each(reader, raw, options, ((known[image], None) for image in table["image_id"]), both, threads):
        if isinstance(seen, UnreadableImage):
            raise seen
        found.append(seen)
    native = pd.concat([pd.DataFrame([one for one, _ in found]), shortcuts.file_features(table)], axis=1)
    fitted = {"before harmonisation": pd.DataFrame([other for _, other in found])} if smoothed else {}
    return {"in the files": native} | fitted


def _at128(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:  # (c, h, w) -> (128, 128)
    return np.asarray(Image.fromarray(pixels[0]).resize((128, 128), Image.Resampling.BOX))


def _release(manifest: pd.DataFrame, files: str) -> str:
    """Which copy of a release the files are."""
    if not files:
        return ""
    names = {PurePosixPath(file).name: sha for file, sha in zip(manifest["file"], manifest["sha256"], strict=True)}
    return release.verdict(names, Path(files)).text
