"""Write and read the HDF5 stores of images and of maps. A store is complete or absent, and checked when opened.

    images.h5   pixels (n, c, h, w) uint8, and one mask (n, h, w) per region; for "parts" a part number per pixel; of datasets that
                have them, the images without some of their parts, in `renders` (k, c, h, w)
    maps        per method: raw signed float32 maps (rows, copies, h, w), a status for each, their seconds, notes

A row of a map store is one (image, target class). A constant map has status "degenerate", a map that is not finite
has status "failed"; both are stored unchanged.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.storage.hdf5_file import (
    CHECKED,
    GZIP,
    StoreReader,
    StoreWriter,
    fixed_texts,
    incomplete_store,
    plain_texts,
)
from gradfaith.storage.map_info import STATUSES, MapInfo, from_attributes, status_of

RENDERS = "renders"
# of a stamp: the part that decides the maps' values and enters the digest; device, threads and versions do not
DECIDING = ("arch", "seed", "bundle", "images_digest", "weights_sha256", "settings", "code")


@dataclass(frozen=True)
class RenderRow:
    """One image without some of its parts."""

    removed: tuple[int, ...]  # part numbers, in order
    pixels: NDArray[np.uint8]  # (c, h, w)
    sufficient: bool  # what is left names the image's class
    shared: int  # 1: exactly what the first contrast class shares was removed; 2: the second one; 0: neither


class ImageWriter(StoreWriter):
    """Writes images.h5, one image at a time."""

    def __init__(
        self,
        path: Path | str,
        ids: Sequence[str],
        regions: Sequence[str],
        shape: tuple[int, int, int],
        stamp: Mapping[str, Any],
        made_from: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, "images", stamp, made_from or {})
        self._ids, self._regions, self._shape = list(ids), regions, shape
        self._missing = set(range(len(ids)))
        self._renders: list[tuple[int, str, bool, int]] = []
        self._contrast = [["", ""] for _ in ids]

    def _begin(self) -> None:
        rows, (_, height, width) = len(self._ids), self._shape
        self._write_column("image_id", self._ids)
        self._file.create_dataset("pixels", (rows, *self._shape), "u1", chunks=(1, *self._shape), **GZIP)
        for region in self._regions:
            self._file.create_dataset(f"masks/{region}", (rows, height, width), "u1", chunks=(1, height, width), **GZIP)
            self._file.create_dataset(f"present/{region}", (rows,), "u1", **CHECKED)

    def put(self, row: int, pixels: NDArray[np.uint8], masks: Mapping[str, NDArray[Any]]) -> None:
        """Write one image, (c, h, w), and its masks, (h, w) by region."""
        self._file["pixels"][row] = pixels
        self._missing.discard(row)
        for region, mask in masks.items():
            self._file[f"masks/{region}"][row] = mask
            self._file[f"present/{region}"][row] = 1
        self._disk.check()

    def put_renders(self, row: int, renders: Sequence[RenderRow], contrast: Sequence[str]) -> None:
        """Write the images of a row without some of their parts, and the two classes that it is contrasted with."""
        if renders and RENDERS not in self._file:
            shape = {"shape": (0, *self._shape), "maxshape": (None, *self._shape), "chunks": (1, *self._shape)}
            self._file.create_dataset(f"{RENDERS}/pixels", dtype="u1", **shape, **GZIP)
        for render in renders:
            pixels, place = self._file[f"{RENDERS}/pixels"], len(self._renders)
            pixels.resize(place + 1, axis=0)
            pixels[place] = render.pixels
            self._renders.append((row, " ".join(map(str, render.removed)), render.sufficient, render.shared))
        if contrast:
            self._contrast[row] = list(contrast)
        self._disk.check()

    def describe(self, **attributes: Any) -> None:
        """Write attributes of all images: mean, std and digest are required."""
        self._file.attrs.update(fixed_texts(attributes))

    def _close(self) -> None:
        undescribed = [name for name in ("mean", "std", "digest") if name not in self._file.attrs]
        if self._missing or undescribed:
            raise incomplete_store(
                self.path, f"{len(self._missing)} of {len(self._ids)} images, and {undescribed}, were not written"
            )
        if self._renders:
            rows, removed, *facts = zip(*self._renders, strict=True)
            self._write_column(f"{RENDERS}/image", np.array(rows, dtype=np.int64))
            self._write_column(f"{RENDERS}/removed", list(removed))
            for name, values in zip(("sufficient", "shared"), facts, strict=True):
                self._write_column(f"{RENDERS}/{name}", np.array(values, dtype=np.uint8))
            for place in range(2):
                self._write_column(f"contrast/{place + 1}", [pair[place] for pair in self._contrast])
        super()._close()


class MapWriter(StoreWriter):
    """Writes the maps of one cell, batch by batch; `rows` holds image_id, target (a class index) and role."""

    def __init__(
        self,
        path: Path | str,
        rows: pd.DataFrame,
        stamp: Mapping[str, Any],
        made_from: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, "maps", stamp, made_from or {})
        deciding = json.dumps({key: stamp[key] for key in DECIDING if key in stamp}, sort_keys=True, default=str)
        self._head["digest"] = hashlib.sha256(deciding.encode()).hexdigest()
        self._rows, self._table = len(rows), rows
        self._filled: dict[str, int] = {}

    def _begin(self) -> None:
        for column, values in self._table.items():
            text = not pd.api.types.is_numeric_dtype(values)
            self._write_column(f"rows/{column}", list(values) if text else values.to_numpy())

    def put(
        self,
        label: str,
        info: MapInfo,
        start: int,
        maps: NDArray[np.float32],  # (n, copies, h, w)
        seconds: float,
        notes: Mapping[str, NDArray[np.float32]] | None = None,  # each (n,)
    ) -> None:
        """Write a batch of one method's maps, for the rows from `start`; `seconds` is its computing time."""
        group = self._file.require_group(f"methods/{label}")
        if "maps" not in group:
            rows = 1 if info.grid == "input" else min(256, self._rows)
            chunk = (rows, 1, *maps.shape[2:])  # one copy per chunk: copies are read one by one
            group.create_dataset("maps", (self._rows, *maps.shape[1:]), "f4", chunks=chunk, **GZIP)
            group.create_dataset("status", (self._rows, info.copies), "u1", **CHECKED)
            group.create_dataset("seconds", (self._rows,), "f4", **CHECKED)
            group.attrs.update(fixed_texts(vars(info)))
        stop = start + len(maps)
        group["maps"][start:stop] = maps
        group["status"][start:stop] = status_of(maps)
        group["seconds"][start:stop] = seconds / len(maps)
        for name, values in (notes or {}).items():
            if name not in group.require_group("notes"):
                group.create_dataset(f"notes/{name}", (self._rows,), "f4", fillvalue=np.nan, **CHECKED)
            group[f"notes/{name}"][start:stop] = values
        self._filled[label] = self._filled.get(label, 0) + len(maps)
        self._disk.check()

    def _close(self) -> None:
        short = {label: rows for label, rows in self._filled.items() if rows != self._rows}
        if short:
            raise incomplete_store(self.path, f"of {self._rows} rows only {short} were written")
        super()._close()


class ImageStore(StoreReader):
    """images.h5, open for reading: pixels and masks by image id."""

    kind = "images"

    def _load(self, attributes: Mapping[str, Any]) -> None:
        super()._load(attributes)
        self.ids: list[str] = list(self._file["image_id"].asstr()[:])
        self.row = {image: row for row, image in enumerate(self.ids)}
        self.mean, self.std = float(attributes["mean"]), float(attributes["std"])
        height, width = self._file["pixels"].shape[2:]
        self.size: tuple[int, int] = (height, width)
        self.regions = tuple(self._file.get("masks", ()))

    def pixels(self, ids: Sequence[str]) -> NDArray[np.uint8]:  # (n, c, h, w)
        """Read the pixels of some images."""
        pixels: NDArray[np.uint8] = self._rows("pixels", ids)
        return pixels

    def mask(self, region: str, ids: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:  # (n, h, w), (n,)
        """Read the masks of a region for some images, and for which of them it is known."""
        if region not in self.regions:
            return np.zeros((len(ids), *self.size), dtype=bool), np.zeros(len(ids), dtype=bool)
        return self._rows(f"masks/{region}", ids).astype(bool), self._rows(f"present/{region}", ids).astype(bool)

    def parts(self, ids: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:  # (n, h, w), (n,)
        """Read the number of each pixel's part, from 1, and for which images parts are known."""
        if "parts" not in self.regions:
            return np.zeros((len(ids), *self.size), dtype=np.uint8), np.zeros(len(ids), dtype=bool)
        return self._rows("masks/parts", ids), self._rows("present/parts", ids).astype(bool)

    def renders(self) -> pd.DataFrame:
        """Return the images without some parts: columns image_id, removed (part numbers), sufficient and shared, as in RenderRow."""
        if RENDERS not in self._file:
            return pd.DataFrame({"image_id": [], "removed": [], "sufficient": [], "shared": []})
        found = {name: self.read(f"{RENDERS}/{name}") for name in ("image", "removed", "sufficient", "shared")}
        removed = [tuple(map(int, text.decode().split())) for text in found["removed"]]
        ids = [self.ids[row] for row in found["image"]]
        return pd.DataFrame(
            {"image_id": ids, "removed": removed, "sufficient": found["sufficient"] > 0, "shared": found["shared"]}
        )

    def render_pixels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:  # (n, c, h, w)
        """Read some of the images without parts, by their rows in `renders`."""
        pixels: NDArray[np.uint8] = self.read_rows(f"{RENDERS}/pixels", rows)
        return pixels

    def contrast(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        """Return the two classes that each image is contrasted with; two empty names if it has none."""
        if "contrast" not in self._file:
            return [("", "")] * len(ids)
        rows = [self.row[image] for image in ids]
        first, second = ([text.decode() for text in self.read(f"contrast/{place}")] for place in (1, 2))
        return [(first[row], second[row]) for row in rows]

    def _rows(self, name: str, ids: Sequence[str]) -> Any:
        return self.read_rows(name, np.array([self.row[image] for image in ids], dtype=np.int64))


class MapStore(StoreReader):
    """The maps of one cell, open for reading by method label, copy and row."""

    kind = "maps"

    def _load(self, attributes: Mapping[str, Any]) -> None:
        super()._load(attributes)
        columns = self._file["rows"].items()
        self.rows = pd.DataFrame(
            {name: (column.asstr() if h5py.check_string_dtype(column.dtype) else column)[:] for name, column in columns}
        )
        groups = self._file.get("methods", {}).items()
        self.methods = {label: from_attributes(plain_texts(group.attrs)) for label, group in groups}

    def maps(self, label: str, copy: int, rows: slice | NDArray[np.int64] = slice(None)) -> NDArray[np.float32]:
        """Read some maps (n, h, w) of one method and copy; row numbers may come in any order."""
        maps: NDArray[np.float32] = self.read_rows(f"methods/{label}/maps", rows, copy)
        return maps

    def cells(self, label: str) -> tuple[int, int]:
        """Return height and width of a method's maps."""
        height, width = self._file[f"methods/{label}/maps"].shape[2:]
        return height, width

    def status(self, label: str, copy: int, rows: Any = slice(None)) -> NDArray[np.str_]:  # (n,)
        """Read the status of the maps of one method and copy."""
        status: NDArray[np.str_] = np.array(STATUSES)[self.read(f"methods/{label}/status", (rows, copy))]
        return status

    def notes(self, label: str) -> dict[str, NDArray[np.float32]]:  # each (n,)
        """Read a method's own diagnostics: name -> one number per map."""
        names = self._file[f"methods/{label}"].get("notes", {})
        return {name: self.read(f"methods/{label}/notes/{name}") for name in names}

    def seconds(self, label: str) -> NDArray[np.float32]:  # (n,)
        """Read the computing time of each row of a method, in seconds."""
        seconds: NDArray[np.float32] = self.read(f"methods/{label}/seconds")
        return seconds
