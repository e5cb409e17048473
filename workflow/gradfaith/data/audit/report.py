"""Puts the audit together: counts from the manifest, probes from the packed images and, where files lie behind them, from these.

Whether a study may go on with its split: not if a nearest neighbour finds too many of the answers in the training part.

An external evaluation has no split; it may not go on where an image is one that its models were trained on or chosen by.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from gradfaith.data.audit import checks, shortcuts
from gradfaith.data.fetch import release
from gradfaith.data.fit import Fit, Harmonise
from gradfaith.data.manifest import records, usable
from gradfaith.data.readers.contract import Picture, Reader, Record, each
from gradfaith.errors import LeakySplit, UnreadableImage
from gradfaith.storage.hdf5 import Images

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
    small = np.empty((len(table), checks.SIDE, checks.SIDE), dtype=np.float32)
    middle = np.empty((len(table), 128, 128), dtype=np.uint8)
    packed, lung_share = [], list[NDArray[np.float32]]()
    for start in range(0, len(table), BLOCK):
        pixels = images.pixels(list(table["image_id"].iloc[start : start + BLOCK]))
        for row, picture in enumerate(pixels, start):
            small[row], middle[row] = checks.thumb(picture), _at128(picture)
        packed += [shortcuts.features(picture[0]) for picture in pixels]
        lung_share.append(checks.air_share(pixels) * len(pixels))
    air = np.sum(lung_share, axis=0) / len(table)
    stages = {"as the model sees it": pd.DataFrame(packed)}
    if raw is not None:
        stages = _native(table, reader, raw, asked, threads) | stages
    return {
        **checks.counts(manifest),
        "release": _release(manifest, asked["files"]),
        "claimed": dict(asked["claimed"]),
        "inferred": checks.groups_named(groups),
        "duplicates": checks.duplicates(usable(manifest)),
        "near_duplicates": checks.near_duplicates(middle, table),
        "seen_before": checks.seen_before(usable(manifest), asked["external"], trained),
        "leakage": checks.probe(small, air, table, asked["split"], seed),
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


def verdict(audit: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the probe says of the split, and the warning that every table then carries; a leak not allowed is refused."""
    _unseen(audit["seen_before"])
    this, limit = audit["leakage"]["this"], asked["leak_limit"]
    probe = this["whole"] if this else None
    leaks = asked["by"] == "slice" or (probe is not None and probe > limit)
    if leaks and not asked["allow_leaky_split"]:
        raise LeakySplit(
            found=f"one nearest neighbour at {audit['leakage']['side']} px names {probe:.3f} of the test part's classes "
            f"(balanced; chance {audit['leakage']['chance']:.3f}, split.leak_limit {limit:g}).",
            why="It knows nothing of disease: it found the same patients, or the same scanner, in the training part.",
            then="Look at the audit (`snakemake figure_audit`). Mend the groups; or, where the classes truly are so easy, "
            "raise split.leak_limit; or set split.allow_leaky_split: every table will say so.",
        )
    said = (
        f"one nearest neighbour reaches {probe:.3f} from train to test"
        if probe is not None
        else audit["leakage"]["reason"]
    )
    how = "Slices of one patient lie on both sides of this split" if asked["by"] == "slice" else "This split leaks"
    return {
        "leaky": leaks,
        "by": asked["by"],
        "probe": probe,
        "limit": limit,
        "caution": f"LEAKY SPLIT. {how} ({said}): these numbers measure memory as well as skill." if leaks else "",
    }


def _unseen(seen: Mapping[str, Any] | None) -> None:
    if seen and seen["images"]:
        raise LeakySplit(
            found=f"{seen['images']} images are, pixel by pixel, ones that the models of study {seen['study']} were trained on or "
            f"chosen by: {', '.join(seen['list'][:3])}{', ...' if seen['images'] > 3 else ''}.",
            why="An external evaluation on images that the models know measures memory, not skill.",
            then="Take these images and their patients out; data/audit.json lists them.",
        )
