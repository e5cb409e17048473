"""Write and read the HDF5 stores of images and of maps: complete or not there, checked when opened.

    images.h5   pixels (n, c, h, w) uint8 and one mask (n, h, w) per region; of "parts" a number per pixel
    maps        per method: raw signed float32 maps (rows, copies, h, w), a status for each, the seconds they took, notes

A row of a map store is one (image, target class). A constant map is "degenerate", one that is not finite is
"failed"; both are kept as they came.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.errors import BrokenStore
from gradfaith.storage.atomic import DeferredErrorFile, replacing
from gradfaith.storage.map_info import STATUSES, MapInfo, from_attributes, status_of

FORMAT_VERSION = 2
GZIP: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


class StoreWriter:
    """An HDF5 file being written; it gets its name only when the block ends without error and it is complete."""

    def __init__(self, path: Path | str, kind: str, stamp: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._head = {
            "kind": kind,
            "format": FORMAT_VERSION,
            "stamp": json.dumps(dict(stamp), sort_keys=True, default=str),
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # a disk can be full before the first row
            self._disk = stack.enter_context(DeferredErrorFile(stack.enter_context(replacing(self.path)), "w+"))
            self._file = stack.enter_context(h5py.File(self._disk, "w"))
            self._file.attrs.update(self._head)
            self._begin()
            self._disk.check()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._disk.check()  # a full disk explains every later error
            if error is not None:
                raise error
            self._close()
            self._file.close()
            self._disk.check()

    def _begin(self) -> None:
        """Write what a file holds before its first row."""

    def _close(self) -> None:
        self._file.attrs["complete"] = True


class ImageWriter(StoreWriter):
    """Writes images.h5, one image at a time."""

    def __init__(
        self,
        path: Path | str,
        ids: Sequence[str],
        regions: Sequence[str],
        shape: tuple[int, int, int],
        stamp: Mapping[str, Any],
    ) -> None:
        super().__init__(path, "images", stamp)
        self._ids, self._regions, self._shape = list(ids), regions, shape
        self._missing = set(range(len(ids)))

    def _begin(self) -> None:
        rows, (_, height, width) = len(self._ids), self._shape
        self._file["image_id"] = np.array(self._ids, dtype=h5py.string_dtype())
        self._file.create_dataset("pixels", (rows, *self._shape), "u1", chunks=(1, *self._shape), **GZIP)
        for region in self._regions:
            self._file.create_dataset(f"masks/{region}", (rows, height, width), "u1", chunks=(1, height, width), **GZIP)
            self._file.create_dataset(f"present/{region}", (rows,), "u1")

    def put(self, row: int, pixels: NDArray[np.uint8], masks: Mapping[str, NDArray[Any]]) -> None:
        """Write one image, (c, h, w), and its masks, (h, w) by region."""
        self._file["pixels"][row] = pixels
        self._missing.discard(row)
        for region, mask in masks.items():
            self._file[f"masks/{region}"][row] = mask
            self._file[f"present/{region}"][row] = 1
        self._disk.check()

    def describe(self, **attributes: Any) -> None:
        """Write the numbers that describe all images: mean, std and digest are required."""
        self._file.attrs.update(attributes)

    def _close(self) -> None:
        undescribed = [name for name in ("mean", "std", "digest") if name not in self._file.attrs]
        if self._missing or undescribed:
            raise _incomplete(
                self.path, f"{len(self._missing)} of {len(self._ids)} images, and {undescribed}, were not written"
            )
        super()._close()


class MapWriter(StoreWriter):
    """Writes the maps of one cell, batch by batch; `rows` holds image_id, target (a class index) and role."""

    def __init__(self, path: Path | str, rows: pd.DataFrame, stamp: Mapping[str, Any]) -> None:
        super().__init__(path, "maps", stamp)
        self._rows, self._table = len(rows), rows
        self._filled: dict[str, int] = {}

    def _begin(self) -> None:
        for column, values in self._table.items():
            text = not pd.api.types.is_numeric_dtype(values)
            self._file[f"rows/{column}"] = values.to_numpy(dtype=h5py.string_dtype() if text else None)

    def put(
        self,
        label: str,
        info: MapInfo,
        start: int,
        maps: NDArray[np.float32],  # (n, copies, h, w)
        seconds: float,
        notes: Mapping[str, NDArray[np.float32]] | None = None,  # each (n,)
    ) -> None:
        """Write a batch of one method's maps, for the rows from `start`; it took `seconds`."""
        group = self._file.require_group(f"methods/{label}")
        if "maps" not in group:
            chunk = 1 if info.grid == "input" else min(256, self._rows)
            group.create_dataset("maps", (self._rows, *maps.shape[1:]), "f4", chunks=(chunk, *maps.shape[1:]), **GZIP)
            group.create_dataset("status", (self._rows, info.copies), "u1")
            group.create_dataset("seconds", (self._rows,), "f4")
            group.attrs.update(vars(info))
        stop = start + len(maps)
        group["maps"][start:stop] = maps
        group["status"][start:stop] = status_of(maps)
        group["seconds"][start:stop] = seconds / len(maps)
        for name, values in (notes or {}).items():
            if name not in group.require_group("notes"):
                group.create_dataset(f"notes/{name}", (self._rows,), "f4", fillvalue=np.nan)
            group[f"notes/{name}"][start:stop] = values
        self._filled[label] = self._filled.get(label, 0) + len(maps)
        self._disk.check()

    def _close(self) -> None:
        short = {label: rows for label, rows in self._filled.items() if rows != self._rows}
        if short:
            raise _incomplete(self.path, f"of {self._rows} rows only {short} were written")
        super()._close()


class StoreReader:
    """An open store: complete, and of this version's format."""

    kind = ""

    def __init__(self, path: Path | str) -> None:
        if not Path(path).is_file():
            raise _missing(path)
        try:
            self._file = h5py.File(path, "r", locking=False)
        except OSError as error:
            raise _broken(path, str(error)) from error
        attributes = self._file.attrs
        if (
            attributes.get("kind") != self.kind
            or attributes.get("format") != FORMAT_VERSION
            or not attributes.get("complete", False)
        ):
            found = f"kind {attributes.get('kind')}, format {attributes.get('format')}, complete {bool(attributes.get('complete', False))}"
            self._file.close()
            raise _broken(path, f"{found}; expected {self.kind}, {FORMAT_VERSION}, True")
        self.path = Path(path)
        self.stamp: dict[str, Any] = json.loads(attributes["stamp"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self, name: str, selection: Any = slice(None)) -> Any:
        try:
            return self._file[name][selection]
        except OSError as error:
            raise _broken(self.path, str(error)) from error


class ImageStore(StoreReader):
    """images.h5, open for reading: pixels and masks by image id."""

    kind = "images"

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.ids: list[str] = list(self._file["image_id"].asstr()[:])
        self.row = {image: row for row, image in enumerate(self.ids)}
        self.mean, self.std = float(self._file.attrs["mean"]), float(self._file.attrs["std"])
        self.digest = str(self._file.attrs["digest"])
        height, width = self._file["pixels"].shape[2:]
        self.size: tuple[int, int] = (height, width)
        self.regions = tuple(self._file.get("masks", ()))

    def pixels(self, ids: Sequence[str]) -> NDArray[np.uint8]:  # (n, c, h, w)
        """Read the pixels of some images."""
        pixels: NDArray[np.uint8] = self._rows("pixels", ids)
        return pixels

    def mask(self, region: str, ids: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:  # (n, h, w), (n,)
        """Read a region of some images, and for which of them it is known."""
        if region not in self.regions:
            return np.zeros((len(ids), *self.size), dtype=bool), np.zeros(len(ids), dtype=bool)
        return self._rows(f"masks/{region}", ids).astype(bool), self._rows(f"present/{region}", ids).astype(bool)

    def parts(self, ids: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:  # (n, h, w), (n,)
        """Read the number of each pixel's part, from 1, and for which images parts are known."""
        if "parts" not in self.regions:
            return np.zeros((len(ids), *self.size), dtype=np.uint8), np.zeros(len(ids), dtype=bool)
        return self._rows("masks/parts", ids), self._rows("present/parts", ids).astype(bool)

    def _rows(self, name: str, ids: Sequence[str]) -> Any:
        wanted = np.array([self.row[image] for image in ids], dtype=np.int64)
        unique, back = np.unique(wanted, return_inverse=True)  # HDF5 reads rising rows only
        return self._read(name, unique)[back]


class MapStore(StoreReader):
    """The maps of one cell, open for reading: by method's label, copy and row."""

    kind = "maps"

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        columns = self._file["rows"]
        self.rows = pd.DataFrame(
            {
                name: (columns[name].asstr()[:] if columns[name].dtype.kind == "O" else columns[name][:])
                for name in columns
            }
        )
        self.methods = {label: from_attributes(group.attrs) for label, group in self._file.get("methods", {}).items()}

    def maps(self, label: str, copy: int, rows: Any = slice(None)) -> NDArray[np.float32]:  # (n, h, w)
        """Read the maps of one method and copy."""
        maps: NDArray[np.float32] = self._read(f"methods/{label}/maps", (rows, copy))
        return maps

    def cells(self, label: str) -> tuple[int, int]:
        """Return height and width of a method's maps."""
        height, width = self._file[f"methods/{label}/maps"].shape[2:]
        return height, width

    def status(self, label: str, copy: int, rows: Any = slice(None)) -> NDArray[np.str_]:  # (n,)
        """Read the status of the maps of one method and copy."""
        status: NDArray[np.str_] = np.array(STATUSES)[self._read(f"methods/{label}/status", (rows, copy))]
        return status

    def notes(self, label: str) -> dict[str, NDArray[np.float32]]:  # each (n,)
        """Read a method's own diagnostics, a number per map, by name."""
        names = self._file[f"methods/{label}"].get("notes", {})
        return {name: self._read(f"methods/{label}/notes/{name}") for name in names}

    def seconds(self, label: str) -> NDArray[np.float32]:  # (n,)
        """Read the seconds that each row of a method took."""
        seconds: NDArray[np.float32] = self._read(f"methods/{label}/seconds")
        return seconds


def _incomplete(path: Path, problem: str) -> BrokenStore:
    return BrokenStore(
        problem=f"{path}: {problem}.",
        reason="What was not written would be read as zeros.",
        fix="This is a fault of the workflow: please report it with the log.",
    )


def _missing(path: Path | str) -> BrokenStore:
    return BrokenStore(
        problem=f"there is no file {path}.",
        reason="A store is one HDF5 file, such as results/<study>/maps/<arch>/seed-<s>/<bundle>.h5.",
        fix="Name one that is there, or run the study that makes it.",
    )


def _broken(path: Path | str, problem: str) -> BrokenStore:
    return BrokenStore(
        problem=f"{path}: {problem}.",
        reason="A store is written whole or not at all, so this one was cut, edited, or made by another version.",
        fix=f"Delete {path} and run again: only what is missing is computed.",
    )
