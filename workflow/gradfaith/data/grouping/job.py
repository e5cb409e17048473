"""Groups of a dataset, from its images to the tables the study keeps: who belongs together, what joined them, how sure that is."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from gradfaith.config.dataset import VERSION, Grouping
from gradfaith.data import hand_lists
from gradfaith.data.grouping import infer, similarity
from gradfaith.data.manifest import pixel_hash
from gradfaith.data.readers.contract import Picture, Reader, Record, each
from gradfaith.errors import UnreadableImage


@dataclass(frozen=True)
class Found:
    """Tables and report of one inference."""

    groups: pd.DataFrame  # image_id, group, version
    links: pd.DataFrame  # a, b (image ids), cue, value
    report: dict[str, Any]


def run(reader: Reader, raw: Path | None, options: Any, how: Mapping[str, Any], *, threads: int = 1) -> Found:
    """Look at every image once, then join. An image that cannot be read has no group: the index names it."""
    asked, records, hashes = Grouping(**how), list[Record](), list[str]()

    def seen(_record: Record, picture: Picture) -> tuple[similarity.Views, str]:
        grey = picture.pixels if picture.pixels.ndim == 2 else np.asarray(Image.fromarray(picture.pixels).convert("L"))
        return similarity.look(grey, asked.cues), pixel_hash(picture.pixels)

    def readable(every: Sequence[Record]) -> Iterator[similarity.Views]:
        for record, found in each(reader, raw, options, ((record, None) for record in every), seen, threads):
            if not isinstance(found, UnreadableImage):
                records.append(record)
                hashes.append(found[1])
                yield found[0]

    every = list(reader.index(raw, options))
    looks = similarity.gathered(readable(every), len(every))
    links = _must_links(Path(asked.must_links)) if asked.must_links else []
    names, labels = [PurePosixPath(record.file).name for record in records], [record.label for record in records]
    inferred = infer.infer(looks, names, labels, hashes, asked, links)
    ids = np.array([record.image_id for record in records], dtype=object)
    table = pd.DataFrame({"image_id": ids, "group": inferred.group, "version": VERSION})
    joined = inferred.links.assign(a=ids[inferred.links["a"]], b=ids[inferred.links["b"]])
    return Found(table, joined, _report(table, labels, inferred, asked))


def _must_links(table: Path) -> list[tuple[str, str, str]]:
    why = "It names pairs of files that a person has seen to belong together."
    return [
        (a, b, reason) for a, b, reason in (line.cells for line in hand_lists.lines(table, ("a", "b", "reason"), why))
    ]


def _report(table: pd.DataFrame, labels: list[str], found: infer.Inferred, how: Grouping) -> dict[str, Any]:
    listing = "".join(f"{image}\t{group}\n" for image, group in zip(table["image_id"], table["group"], strict=True))
    per_class = table.assign(label=labels).groupby("label")["group"].nunique()
    return {
        "version": VERSION,
        "parameters": how.model_dump(),
        "images": len(table),
        "groups": {
            **{str(name): int(count) for name, count in per_class.items()},
            "all": int(table["group"].nunique()),
        },
        "largest": int(table["group"].value_counts().iloc[0]),
        "spread": found.spread,
        "links": {str(cue): int(count) for cue, count in found.links["cue"].value_counts().items()},
        "missing_must_links": found.missing_must_links,
        "table_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "caution": "Inferred groups are not patients: independence of patients is inferred from the images, not known.",
    }
