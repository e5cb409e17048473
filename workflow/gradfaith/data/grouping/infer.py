"""Infer which images share a patient if the dataset does not state it; in doubt, groups are merged.

    1 order       neighbours in a class's numbering join if they correlate (best of small shifts), or show the same couch
    2 couch       runs of such neighbours up to `reach` apart join if any of their images show the same couch; adjacent runs
                  join as well if they show no couch, as others do, and have one image size or consist of one image
    3 duplicates  any two images, of any class, join if they correlate at 128 px, or share couch and outline
    4 lungs       any two images join if the boxes around their lungs correlate: one patient with another field of view
    5 must-link   pairs from a table of the user
      identical   images with the same pixels, always
    groups = connected components of all links

An inferred group is not a patient: several patients may be merged, and two scans of one patient without a common level are
not joined. The thresholds are just above the values that images of different classes reach in IQ-OTH/NCCD; `spread` states
how the number of groups changes with them. Cost: quadratic in the number of images, by matrix products over tiles, so that
memory grows only with the images; benchmarks/groups.py measures both. `group_dataset` does all of this for a reader.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gradfaith.config.grouping import VERSION, Grouping
from gradfaith.data.grouping import similarity
from gradfaith.data.grouping.similarity import ImageViews
from gradfaith.data.manifest import pixel_hash
from gradfaith.data.readers import contract
from gradfaith.data.readers.contract import DecodedImage, Reader, Record, canonical_id, map_images, natural_sort_key
from gradfaith.errors import UnreadableImage

UNSHIFTED_MARGIN = 0.15  # of the correlation, below the best of shifts; no link of IQ-OTH/NCCD is lost
SPREAD_GRID = {"order_ncc": (0.90, 0.93, 0.95), "couch": (0.6, 0.7, 0.8, 0.9), "duplicate_ncc": (0.88, 0.90, 0.93)}


class CueLinks(NamedTuple):
    """Links between images that one cue found."""

    cue: str  # its name in the table of links
    pairs: similarity.Pairs  # (n, 2) rows of images
    values: similarity.PairValues  # (n,) their similarity


class MustLink(NamedTuple):
    """Two files of one patient, as stated by the user."""

    a: str
    b: str
    reason: str


@dataclass(frozen=True)
class InferredGroups:
    """A group for every image, the links that made it, and the range of the number of groups."""

    group: list[str]
    links: pd.DataFrame  # a, b (rows), cue, value
    spread: dict[str, Any]
    missing_must_links: int


def infer_groups(
    views: ImageViews,
    names: Sequence[str],
    labels: Sequence[str],
    hashes: Sequence[str],
    settings: Grouping,
    must_links: Sequence[MustLink] = (),
) -> InferredGroups:
    """Infer the groups of images from their `views`.

    `names`: of files, without folder, numbered within a label if they contain a number; `hashes`: of the pixels.
    """
    rows = {canonical_id(name): row for row, name in enumerate(names)}
    wanted = [(canonical_id(link.a), canonical_id(link.b)) for link in must_links]
    must = [(rows[a], rows[b]) for a, b in wanted if a in rows and b in rows]
    fixed: list[CueLinks] = [
        CueLinks("must-link", np.array(must, dtype=np.int64).reshape(-1, 2), np.ones(len(must), np.float32)),
        CueLinks("identical", *_identical_pairs(hashes)),
        *_links_anywhere(views, settings),
    ]
    sequence = _NumberedSequence(views, names, labels)
    links = [*_with_duplicates_above(settings.duplicate_ncc, fixed), *sequence.links(settings)]
    component = _connected_groups(len(views), links)
    order = {number: place for place, number in enumerate(dict.fromkeys(component.tolist()), start=1)}
    return InferredGroups(
        [f"G{order[number]:03d}" for number in component.tolist()],
        pd.concat([pd.DataFrame({"a": pairs[:, 0], "b": pairs[:, 1], "cue": cue, "value": values}) for cue, pairs, values in links],
                  ignore_index=True),
        _spread_over_grid(sequence, fixed, labels, settings),
        len(must_links) - len(must),
    )  # fmt: skip


def _links_anywhere(views: ImageViews, settings: Grouping) -> Iterator[CueLinks]:
    """Yield the links between any two images."""
    lowest = min(settings.duplicate_ncc, *SPREAD_GRID["duplicate_ncc"])
    if "duplicates" in settings.cues:
        yield from (CueLinks("duplicates", *portion) for portion in similarity.pairs_above(views.at128, lowest))
    if {"duplicates", "couch"} <= set(settings.cues):
        evident = similarity.couch_energies(views.lines) >= settings.couch_energy
        for pairs, _ in similarity.pairs_above(views.at64, settings.same_couch_ncc - UNSHIFTED_MARGIN):
            seen = pairs[evident[pairs].all(axis=1)]
            alike = _couch_cosines_of(views.lines, seen)
            seen, alike = seen[alike >= settings.same_couch], alike[alike >= settings.same_couch]
            close = similarity.best_correlation(views.at64, seen) >= settings.same_couch_ncc
            yield CueLinks("couch and outline", seen[close], alike[close])
    if "lungs" in settings.cues:
        for pairs, _ in similarity.pairs_above(views.lungs, settings.lungs_ncc - UNSHIFTED_MARGIN):
            value = similarity.best_correlation(views.lungs, pairs)
            yield CueLinks("lungs", pairs[value >= settings.lungs_ncc], value[value >= settings.lungs_ncc])


class _NumberedSequence:
    """The images in order, class by class, and the similarity of neighbours, for links at any thresholds."""

    def __init__(self, views: ImageViews, names: Sequence[str], labels: Sequence[str]) -> None:
        self.order = sorted(range(len(names)), key=lambda row: (labels[row], natural_sort_key(names[row])))
        self.labels, self.sizes, self.lines = labels, views.size, views.lines
        steps = [(a, b) for a, b in zip(self.order, self.order[1:], strict=False) if labels[a] == labels[b]]
        self.steps = np.array(steps, dtype=np.int64).reshape(-1, 2)
        self.ncc, self.energy = (
            similarity.best_correlation(views.at64, self.steps),
            similarity.couch_energies(views.lines),
        )
        self.alike = (
            _couch_cosines_of(self.lines, self.steps)
            if self.lines.shape[-1] > 1
            else np.zeros(len(self.steps), np.float32)
        )
        self._blocks: dict[tuple[int, int, int, int], NDArray[np.float32]] = {}

    def links(self, settings: Grouping) -> Iterator[CueLinks]:
        """Yield the links of steps 1 and 2."""
        if "order" not in settings.cues:
            return
        evident = self.energy >= settings.couch_energy
        like = self.ncc >= settings.order_ncc
        same = (self.alike >= settings.couch) & evident[self.steps].all(axis=1)
        yield CueLinks("order", self.steps[like], self.ncc[like])
        yield CueLinks("couch", self.steps[same & ~like], self.alike[same & ~like])
        if "couch" not in settings.cues:
            return
        for near, first, second in self._pairs_of_runs(like | same, settings.reach):
            seen = np.ix_(evident[first], evident[second])
            table = self._block(first, second)[seen]
            if table.size and table.max() >= settings.couch:
                a, b = np.unravel_index(int(table.argmax()), table.shape)
                pair = [first[evident[first]][a], second[evident[second]][b]]
                yield CueLinks("couch", np.array([pair]), np.array([table.max()]))
            elif near and not table.size and evident.any() and self._may_be_one_scan(first, second):
                yield CueLinks("no couch", np.array([[first[-1], second[0]]]), np.zeros(1, np.float32))

    def _may_be_one_scan(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
        """Return whether two runs have one image size, or one is a single image, which may be a crop."""
        return bool((self.sizes[first[-1]] == self.sizes[second[0]]).all()) or 1 in (len(first), len(second))

    def _pairs_of_runs(self, joined: NDArray[np.bool_], reach: int) -> Iterator[tuple[bool, Any, Any]]:
        link = dict(zip(map(tuple, self.steps.tolist()), joined.tolist(), strict=True))
        runs: list[list[int]] = []
        for place, row in enumerate(self.order):
            if place and link.get((self.order[place - 1], row), False):
                runs[-1].append(row)
            else:
                runs.append([row])
        arrays = [np.array(run) for run in runs]
        for one, first in enumerate(arrays):
            for other in range(one + 1, min(one + reach + 1, len(arrays))):
                if self.labels[first[0]] == self.labels[arrays[other][0]]:
                    yield other == one + 1, first, arrays[other]

    def _block(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
        key = (int(first[0]), len(first), int(second[0]), len(second))
        if key not in self._blocks:
            self._blocks[key] = similarity.couch_cosines(self.lines[first], self.lines[second])
        return self._blocks[key]


def _spread_over_grid(
    sequence: _NumberedSequence, fixed: Sequence[CueLinks], labels: Sequence[str], settings: Grouping
) -> dict[str, Any]:
    """Return the range of the number of groups over a grid of thresholds."""
    counts, largest = [], []
    for values in product(*SPREAD_GRID.values()):
        other = settings.model_copy(update=dict(zip(SPREAD_GRID, values, strict=True)))
        component = _connected_groups(
            len(labels), [*_with_duplicates_above(other.duplicate_ncc, fixed), *sequence.links(other)]
        )
        table = pd.DataFrame({"label": labels, "group": component})
        counts.append({**table.groupby("label")["group"].nunique(), "all": table["group"].nunique()})
        largest.append(table["group"].value_counts().iloc[0])
    found = pd.DataFrame(counts)
    ranges = {str(name): [int(found[name].min()), int(found[name].max())] for name in found}
    return {"settings": len(counts), "groups": ranges, "largest": [int(min(largest)), int(max(largest))]}


def _with_duplicates_above(least: float, fixed: Sequence[CueLinks]) -> Iterator[CueLinks]:
    """Yield `fixed`, of near duplicates only those that correlate at `least` or more."""
    for cue, pairs, values in fixed:
        kept = values >= least if cue == "duplicates" else np.ones(len(values), dtype=bool)
        yield CueLinks(cue, pairs[kept], values[kept])


def _connected_groups(count: int, links: Sequence[CueLinks]) -> NDArray[np.int64]:
    pairs = np.concatenate([found.pairs for found in links if len(found.pairs)] or [np.zeros((0, 2), np.int64)])
    table = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    component: NDArray[np.int64] = connected_components(table, directed=False)[1]
    return component


def _identical_pairs(hashes: Sequence[str]) -> tuple[similarity.Pairs, similarity.PairValues]:
    first = {key: row for row, key in reversed(list(enumerate(hashes)))}
    pairs = np.array(
        [(first[key], row) for row, key in enumerate(hashes) if first[key] != row], dtype=np.int64
    ).reshape(-1, 2)
    return pairs, np.ones(len(pairs), np.float32)


def _couch_cosines_of(lines: similarity.CouchLines, pairs: similarity.Pairs) -> similarity.PairValues:
    """Return the cosine of the couches of every pair."""
    found = np.zeros(len(pairs), dtype=np.float32)
    for first, rows, others in similarity.group_by_first(pairs):
        found[rows] = similarity.couch_cosines(lines[[first]], lines[others])[0]
    return found


@dataclass(frozen=True)
class GroupingResult:
    """The tables and the report of one inference of groups."""

    groups: pd.DataFrame  # image_id, group, version
    links: pd.DataFrame  # a, b (image ids), cue, value
    report: dict[str, Any]


def group_dataset(
    reader: Reader, raw: Path | None, options: Any, grouping: Grouping, *, threads: int = 1
) -> GroupingResult:
    """Infer the groups of a reader's dataset, reading every image once.

    `raw` and `options` are the reader's, `grouping` the dataset's key `groups:`. An image that cannot be read
    has no group; the manifest lists it.
    """
    records, hashes = list[Record](), list[str]()

    def view(_record: Record, image: DecodedImage) -> tuple[similarity.ImageViews, str]:
        grey = image.pixels if image.pixels.ndim == 2 else np.asarray(Image.fromarray(image.pixels).convert("L"))
        return similarity.view_image(grey, grouping.cues), pixel_hash(image.pixels)

    def readable(every: Sequence[Record]) -> Iterator[similarity.ImageViews]:
        for record, found in map_images(reader, raw, options, ((record, None) for record in every), view, threads):
            if not isinstance(found, UnreadableImage):
                records.append(record)
                hashes.append(found[1])
                yield found[0]

    every = list(reader.index(raw, options))
    views = similarity.stack_views(readable(every), len(every))
    links = _read_must_links(Path(grouping.must_links)) if grouping.must_links else []
    names, labels = [PurePosixPath(record.file).name for record in records], [record.label for record in records]
    inferred = infer_groups(views, names, labels, hashes, grouping, links)
    ids = np.array([record.image_id for record in records], dtype=object)
    table = pd.DataFrame({"image_id": ids, "group": inferred.group, "version": VERSION})
    joined = inferred.links.assign(a=ids[inferred.links["a"]], b=ids[inferred.links["b"]])
    return GroupingResult(table, joined, _report(table, labels, inferred, grouping))


def _read_must_links(table: Path) -> list[MustLink]:
    why = "It names pairs of files that a person has seen to belong together."
    return [MustLink(*line.cells) for line in contract.read_table(table, MustLink._fields, why)]


def _report(table: pd.DataFrame, labels: list[str], inferred: InferredGroups, grouping: Grouping) -> dict[str, Any]:
    listing = "".join(f"{image}\t{group}\n" for image, group in zip(table["image_id"], table["group"], strict=True))
    per_class = table.assign(label=labels).groupby("label")["group"].nunique()
    return {
        "version": VERSION,
        "parameters": grouping.model_dump(),
        "images": len(table),
        "groups": {
            **{str(name): int(count) for name, count in per_class.items()},
            "all": int(table["group"].nunique()),
        },
        "largest": int(table["group"].value_counts().iloc[0]),
        "spread": inferred.spread,
        "links": {str(cue): int(count) for cue, count in inferred.links["cue"].value_counts().items()},
        "missing_must_links": inferred.missing_must_links,
        "table_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "caution": "Inferred groups are not patients: independence of patients is inferred from the images, not known.",
    }
