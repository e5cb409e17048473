"""Groups for a dataset that does not say which images share a patient: inferred from the images, merged rather than split.

    1 order       neighbours in a class's numbering join if they correlate (best of small shifts), or lie on one couch
    2 couch       runs of such neighbours up to `reach` apart join if any of their images share a couch; runs next to each
                  other without evidence of a couch, of one picture size or one image only, join as well: nothing speaks against it
    3 duplicates  any two images, of whatever class, join if they correlate at 128 px, or share couch and outline
    4 lungs       any two images join if the boxes round their lungs correlate: one person at another field of view
    5 must-link   what a person has seen, from a table
      identical   images with the same pixels, always
    groups = connected components of all links

An inferred group is not a patient: several may be merged, and one who was scanned twice with no level in common is not
found. The thresholds lie just above what images of different classes reach in IQ-OTH/NCCD; `spread` says how the number
of groups moves when they do. Cost: quadratic in images, by matrix products over tiles of them, so that memory grows with
the images alone; benchmarks/groups.py measures both.

Groups of a dataset, from its images to the tables the study keeps: who belongs together, what joined them, how sure that is.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gradfaith.config.dataset import VERSION, Grouping
from gradfaith.data.grouping import similarity
from gradfaith.data.grouping.similarity import Views
from gradfaith.data.manifest import pixel_hash
from gradfaith.data.readers import contract
from gradfaith.data.readers.contract import Picture, Reader, Record, each, natural
from gradfaith.errors import UnreadableImage

NEAR = 0.15  # unshifted correlation may be so much lower than the best of shifts: of the links found with all pairs none was lost
GRID = {"order_ncc": (0.90, 0.93, 0.95), "couch": (0.6, 0.7, 0.8, 0.9), "duplicate_ncc": (0.88, 0.90, 0.93)}
NAMES = {
    0: "order",
    1: "couch",
    2: "no couch",
    3: "duplicates",
    4: "couch and outline",
    5: "lungs",
    6: "must-link",
    7: "identical",
}
Found = tuple[int, similarity.Pairs, similarity.Values]  # which cue, pairs, values


@dataclass(frozen=True)
class Inferred:
    """A group for every image, the links that made it, and how sure the number is."""

    group: list[str]
    links: pd.DataFrame  # a, b (rows), cue, value
    spread: dict[str, Any]
    missing_must_links: int


def infer(
    views: Views,
    names: Sequence[str],
    labels: Sequence[str],
    hashes: Sequence[str],
    how: Grouping,
    must_links: Sequence[tuple[str, str, str]] = (),
) -> Inferred:
    """Groups of the images; `names` are file names without folder, numbered within a label where they hold a number."""
    rows = {name: row for row, name in enumerate(names)}
    known = np.array([(rows[a], rows[b]) for a, b, _ in must_links if a in rows and b in rows], dtype=np.int64)
    fixed: list[Found] = [
        (6, known.reshape(-1, 2), np.ones(len(known), np.float32)),
        (7, *_identical(hashes)),
        *_anywhere(views, how),
    ]
    sequence = _Sequence(views, names, labels)
    wanted = [*_duplicates_from(how.duplicate_ncc, fixed), *sequence.links(how)]
    component = _components(len(views), wanted)
    order = {number: place for place, number in enumerate(dict.fromkeys(component.tolist()), start=1)}
    return Inferred(
        [f"G{order[number]:03d}" for number in component.tolist()],
        pd.concat([pd.DataFrame({"a": pairs[:, 0], "b": pairs[:, 1], "cue": NAMES[cue], "value": values}) for cue, pairs, values in wanted],
                  ignore_index=True),
        _spread(sequence, fixed, labels, how),
        len(must_links) - len(known),
    )  # fmt: skip


def _anywhere(views: Views, how: Grouping) -> Iterator[Found]:
    """Links between any two images."""
    lowest = min(how.duplicate_ncc, *GRID["duplicate_ncc"])
    if "duplicates" in how.cues:
        yield from ((3, *portion) for portion in similarity.above(views.at128, lowest))
    if {"duplicates", "couch"} <= set(how.cues):
        evident = similarity.energies(views.lines) >= how.couch_energy
        for pairs, _ in similarity.above(views.at64, how.same_couch_ncc - NEAR):
            seen = pairs[evident[pairs].all(axis=1)]
            alike = _paired(views.lines, seen)
            seen, alike = seen[alike >= how.same_couch], alike[alike >= how.same_couch]
            close = similarity.best(views.at64, seen) >= how.same_couch_ncc
            yield 4, seen[close], alike[close]
    if "lungs" in how.cues:
        for pairs, _ in similarity.above(views.lungs, how.lungs_ncc - NEAR):
            value = similarity.best(views.lungs, pairs)
            yield 5, pairs[value >= how.lungs_ncc], value[value >= how.lungs_ncc]


class _Sequence:
    """The images in their order, class by class, and how like neighbours are: measured once, linked for any thresholds."""

    def __init__(self, views: Views, names: Sequence[str], labels: Sequence[str]) -> None:
        self.order = sorted(range(len(names)), key=lambda row: (labels[row], natural(names[row])))
        self.labels, self.sizes, self.lines = labels, views.size, views.lines
        steps = [(a, b) for a, b in zip(self.order, self.order[1:], strict=False) if labels[a] == labels[b]]
        self.steps = np.array(steps, dtype=np.int64).reshape(-1, 2)
        self.ncc, self.energy = similarity.best(views.at64, self.steps), similarity.energies(views.lines)
        self.alike = (
            _paired(self.lines, self.steps) if self.lines.shape[-1] > 1 else np.zeros(len(self.steps), np.float32)
        )
        self._blocks: dict[tuple[int, int, int, int], NDArray[np.float32]] = {}

    def links(self, how: Grouping) -> Iterator[Found]:
        """Steps 1 and 2."""
        if "order" not in how.cues:
            return
        evident = self.energy >= how.couch_energy
        like = self.ncc >= how.order_ncc
        same = (self.alike >= how.couch) & evident[self.steps].all(axis=1)
        yield 0, self.steps[like], self.ncc[like]
        yield 1, self.steps[same & ~like], self.alike[same & ~like]
        if "couch" not in how.cues:
            return
        for near, first, second in self._pairs_of_runs(like | same, how.reach):
            seen = np.ix_(evident[first], evident[second])
            table = self._block(first, second)[seen]
            if table.size and table.max() >= how.couch:
                a, b = np.unravel_index(int(table.argmax()), table.shape)
                pair = [first[evident[first]][a], second[evident[second]][b]]
                yield 1, np.array([pair]), np.array([table.max()])
            elif near and not table.size and self._may_belong(first, second):
                yield 2, np.array([[first[-1], second[0]]]), np.zeros(1, np.float32)

    def _may_belong(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
        """One picture size, or a single image: one cropped by hand says nothing of the scan it was cut from."""
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
            self._blocks[key] = similarity.cosines(self.lines[first], self.lines[second])
        return self._blocks[key]


def _spread(sequence: _Sequence, fixed: Sequence[Found], labels: Sequence[str], how: Grouping) -> dict[str, Any]:
    """The number of groups over a grid of thresholds."""
    counts, largest = [], []
    for values in product(*GRID.values()):
        other = how.model_copy(update=dict(zip(GRID, values, strict=True)))
        component = _components(len(labels), [*_duplicates_from(other.duplicate_ncc, fixed), *sequence.links(other)])
        table = pd.DataFrame({"label": labels, "group": component})
        counts.append({**table.groupby("label")["group"].nunique(), "all": table["group"].nunique()})
        largest.append(table["group"].value_counts().iloc[0])
    found = pd.DataFrame(counts)
    ranges = {str(name): [int(found[name].min()), int(found[name].max())] for name in found}
    return {"settings": len(counts), "groups": ranges, "largest": [int(min(largest)), int(max(largest))]}


def _duplicates_from(least: float, fixed: Sequence[Found]) -> Iterator[Found]:
    """The links between any two images, near duplicates from a correlation on: the grid asks for lower ones too."""
    for cue, pairs, values in fixed:
        kept = values >= least if cue == 3 else np.ones(len(values), dtype=bool)
        yield cue, pairs[kept], values[kept]


def _components(many: int, links: Sequence[Found]) -> NDArray[np.int64]:
    pairs = np.concatenate([found[1] for found in links if len(found[1])] or [np.zeros((0, 2), np.int64)])
    table = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(many, many))
    component: NDArray[np.int64] = connected_components(table, directed=False)[1]
    return component


def _identical(hashes: Sequence[str]) -> tuple[similarity.Pairs, similarity.Values]:
    first = {key: row for row, key in reversed(list(enumerate(hashes)))}
    pairs = np.array(
        [(first[key], row) for row, key in enumerate(hashes) if first[key] != row], dtype=np.int64
    ).reshape(-1, 2)
    return pairs, np.ones(len(pairs), np.float32)


def _paired(lines: similarity.Lines, pairs: similarity.Pairs) -> similarity.Values:
    """The couch's cosine of every pair."""
    found = np.zeros(len(pairs), dtype=np.float32)
    for first, rows, others in similarity.by_first(pairs):
        found[rows] = similarity.cosines(lines[[first]], lines[others])[0]
    return found


@dataclass(frozen=True)
class GroupingResult:
    """Tables and report of one inference."""

    groups: pd.DataFrame  # image_id, group, version
    links: pd.DataFrame  # a, b (image ids), cue, value
    report: dict[str, Any]


def run(reader: Reader, raw: Path | None, options: Any, how: Mapping[str, Any], *, threads: int = 1) -> GroupingResult:
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
    inferred = infer(looks, names, labels, hashes, asked, links)
    ids = np.array([record.image_id for record in records], dtype=object)
    table = pd.DataFrame({"image_id": ids, "group": inferred.group, "version": VERSION})
    joined = inferred.links.assign(a=ids[inferred.links["a"]], b=ids[inferred.links["b"]])
    return GroupingResult(table, joined, _report(table, labels, inferred, asked))


def _must_links(table: Path) -> list[tuple[str, str, str]]:
    why = "It names pairs of files that a person has seen to belong together."
    return [
        (a, b, reason) for a, b, reason in (line.cells for line in contract.lines(table, ("a", "b", "reason"), why))
    ]


def _report(table: pd.DataFrame, labels: list[str], found: Inferred, how: Grouping) -> dict[str, Any]:
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
