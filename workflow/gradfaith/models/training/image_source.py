"""Random changes of training images: one affine resampling and one change of grey values for a whole batch.

    x'(u) = brightness * mean + contrast * (y(u) - mean),   y(u) = x(A u + shift),   A = mirror * rotation / zoom

Bilinear, the border repeated, the result cut to [0, 1]. The numbers are drawn on the CPU from the generator given, so
the stream is the same on every device. Cost: one `grid_sample`; nothing where a recipe switches all changes off.

Where training reads its images: all of them on the device, or batch by batch from the store as they are needed.

Both give the same uint8 pixels in the same order, so the weights are the same to the bit. A stream reads the next batches
in a thread while the device computes; it is for packs that do not fit, and costs a thread and a few batches of memory.
`auto` keeps them on the device if they take at most half of what is free there: the network needs room too, and on a
scheduler's machine no job may take more than it asked for.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from gradfaith.config.training import Recipe
from gradfaith.storage.hdf5 import Images


def augment(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Changed copies of `images` (n, c, h, w) in [0, 1]."""
    n, _, height, width = images.shape
    # All numbers are drawn whatever is switched on: switching one change off leaves the others' streams alone.
    theta = affine(n, width / height, recipe, generator).to(images.device)
    brightness, contrast = (1 + recipe.contrast * _signed((2, n, 1, 1, 1), generator)).to(images.device)
    if recipe.flip or recipe.shift or recipe.rotate or recipe.scale:
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if recipe.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (brightness * mean + contrast * (images - mean)).clamp(0, 1)
    return images


def affine(n: int, aspect: float, recipe: Recipe, generator: Generator) -> Tensor:
    """Where each output position looks in its input, in [-1, 1] coordinates; `aspect` is width / height."""
    mirrored = torch.rand(n, generator=generator) < 0.5
    mirror = 1 - 2 * (mirrored & recipe.flip).float()
    angle = math.radians(recipe.rotate) * _signed((n,), generator)
    zoom = (1 + recipe.scale) ** _signed((n,), generator)
    shift = 2 * recipe.shift * _signed((n, 2, 1), generator)  # the side is 2 in these coordinates
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = [torch.stack([mirror * cos, -mirror * sin / aspect], dim=1), torch.stack([sin * aspect, cos], dim=1)]
    return torch.cat([torch.stack(rows, dim=1), shift], dim=2)  # (n, 2, 3)


def _signed(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * 2 - 1  # in [-1, 1)


AHEAD = 2  # batches read while one is computed
BLOCK = 256  # images per piece on the way to the device
FREE_SHARE = 0.5

Read = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # rows -> (n, c, h, w)


class Pixels(Protocol):
    """All images of a study, by number."""

    @property
    def device(self) -> torch.device: ...

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images of each index, (n, c, h, w) uint8 on the device, in the order given."""
        ...


@dataclass(frozen=True)
class Resident:
    """The whole pack on the device."""

    images: Tensor  # (n, c, h, w), uint8

    @property
    def device(self) -> torch.device:
        return self.images.device

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        return (self.images[index.to(self.device)] for index in indices)


@dataclass(frozen=True)
class Streamed:
    """Read when needed, a little ahead of need."""

    read: Read
    device: torch.device

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(1, thread_name_prefix="images") as reader:
            waiting: deque[Future[Tensor]] = deque()
            for index in indices:
                waiting.append(reader.submit(self._one, index))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result().to(self.device, non_blocking=True)
            while waiting:
                yield waiting.popleft().result().to(self.device, non_blocking=True)

    def _one(self, index: Tensor) -> Tensor:
        pixels = torch.from_numpy(self.read(index.cpu().numpy()))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels


@dataclass(frozen=True)
class Packed:
    """Rows of a store that are read when a slice of them is asked for."""

    images: Images
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, some: slice) -> Tensor:  # (n, c, h, w), uint8
        return torch.from_numpy(self.images.pixels(self.ids[some]))

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.images.pixels([self.ids[row] for row in rows])


def opened(images: Images, ids: Sequence[str], how: str, device: torch.device, most: int | None = None) -> Pixels:
    """The images `ids` of a store, kept as `how` says: device, stream or auto; `most` is what this job may take, in bytes."""
    packed = Packed(images, ids)
    size = int(np.prod(packed[:1].shape[1:])) * len(packed)
    room = FREE_SHARE * free(device, most)
    if how == "stream" or (how == "auto" and size > room):
        said = f"{len(packed)} images of {size / 1e6:.0f} MB are read as they are needed"
        print(said + (f": more than {room / 1e6:.0f} MB" if how == "auto" else ""), flush=True)  # noqa: T201 - the job's log
        return Streamed(packed.read, device)
    return Resident(_loaded(packed, device))


def free(device: torch.device, most: int | None = None) -> int:
    """Bytes that the device has left for this process."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    here = int(psutil.virtual_memory().available)
    return here if most is None else min(here, most)


def _loaded(packed: Packed, device: torch.device) -> Tensor:
    """Piece by piece, so that the host never holds the whole pack beside the device's copy."""
    shape = (len(packed), *packed[:1].shape[1:])
    whole = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, len(packed), BLOCK):
        whole[start : start + BLOCK] = packed[start : start + BLOCK].to(device)
    return whole
