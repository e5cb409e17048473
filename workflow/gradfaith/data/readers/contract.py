"""What a dataset reader is: a file in this folder with `Options`, `index` and `read`.

    class Options(ReaderOptions): ...                    what its dataset YAML may say under `options:`
    def index(raw, options) -> Iterator[Record]          one record per image, cheap: nothing is decoded that need not be
    def read(raw, options, record, part) -> Picture      one image, decoded, with every mask its dataset has

The file's stem is the reader's name. `raw` is the folder the data lies in, None for a dataset that is computed. `part`
is the image's part of the split ("train", "val", "test"; None before there is a split): only a reader that plants
something in one part may look at it. A dataset that does not say which images share a patient leaves `group` empty: groups
are then inferred from the pixels (data/groups.py), for all readers alike.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

GroupKind = Literal["patient", "inferred"]
Evidence = Literal["mask", "box", "point", "parts", "none"]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class ReaderOptions(BaseModel):
    """The base of every reader's options: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Record:
    """One image before it is decoded. `file` is relative to the raw folder, or names what is computed."""

    image_id: str
    file: str
    label: str
    group: str  # "": the dataset does not say; inferred later
    group_kind: GroupKind
    evidence: Evidence
    masks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # region -> file, relative to raw


@dataclass(frozen=True)
class Picture:
    """One decoded image, native size, and its regions: "evidence" where there is any, "lungs", "body", "shortcut"."""

    pixels: Bytes  # (h, w), or (h, w, 3)
    masks: Mapping[str, Mask] = field(default_factory=lambda: MappingProxyType({}))  # region -> (h, w)
    parts: Bytes | None = None  # (h, w) which part a pixel is of, from 1; 0: none. "evidence" is then their union


class Reader(Protocol):
    """The shape of a reader's module."""

    Options: type[ReaderOptions]

    def index(self, raw: Path | None, options: Any) -> Iterator[Record]: ...

    def read(self, raw: Path | None, options: Any, record: Record, part: str | None) -> Picture: ...
