"""Provide the images of a training: keep them on the device or stream them from the store, and augment each batch.

Both sources give the same uint8 pixels in the same order, so the weights are bit-identical. A stream reads the next
batches in a thread while the device computes. It is for image sets that do not fit, and costs a thread and a few batches
of memory. `auto` keeps the images on the device if they take at most half of its free memory, because the network needs
memory too. With a scheduler, no job may take more than it requested.

Augmentation is one affine resampling and one change of grey values per batch:

    x'(u) = brightness * mean + contrast * (y(u) - mean),   y(u) = x(A u + shift),   A = mirror * rotation / zoom

Interpolation is bilinear, the border is repeated, and the result is clamped to [0, 1]. The given generator draws the numbers
on the CPU, so they are the same on every device. Cost: one `grid_sample`; none if a recipe switches all changes off.
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

from gradfaith.config.sections import Recipe
from gradfaith.storage.hdf5 import ImageStore


def augment(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Return randomly changed copies of `images` (n, c, h, w) in [0, 1]."""
    return augment_with_masks(images, None, recipe, generator)[0]


def augment_with_masks(
    images: Tensor, masks: Tensor | None, recipe: Recipe, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """Return randomly changed copies of images in [0, 1], and of their masks (n, 1, h, w), 0 or 1, by the same affine map."""
    n, _, height, width = images.shape
    # All numbers are always drawn, so that switching one change off does not change the numbers of the others.
    theta = draw_affine(n, width / height, recipe, generator).to(images.device)
    brightness, contrast = (1 + recipe.contrast * _draw_signed((2, n, 1, 1, 1), generator)).to(images.device)
    if recipe.flip or recipe.shift or recipe.rotate or recipe.scale:
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        if masks is not None:
            moved = functional.grid_sample(masks, grid, mode="bilinear", padding_mode="border", align_corners=False)
            masks = (moved >= 0.5).float()
    if recipe.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (brightness * mean + contrast * (images - mean)).clamp(0, 1)
    return images, masks


def draw_affine(n: int, aspect: float, recipe: Recipe, generator: Generator) -> Tensor:
    """Draw `n` affine maps (n, 2, 3) from output to input positions in [-1, 1]; `aspect` is width / height."""
    mirrored = torch.rand(n, generator=generator) < 0.5
    mirror = 1 - 2 * (mirrored & recipe.flip).float()
    angle = math.radians(recipe.rotate) * _draw_signed((n,), generator)
    zoom = (1 + recipe.scale) ** _draw_signed((n,), generator)
    shift = 2 * recipe.shift * _draw_signed((n, 2, 1), generator)  # the side is 2 in these coordinates
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = [torch.stack([mirror * cos, -mirror * sin / aspect], dim=1), torch.stack([sin * aspect, cos], dim=1)]
    return torch.cat([torch.stack(rows, dim=1), shift], dim=2)  # (n, 2, 3)


def _draw_signed(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw uniform numbers in [-1, 1)."""
    return torch.rand(shape, generator=generator) * 2 - 1


BATCHES_READ_AHEAD = 2  # batches read while one is computed
IMAGES_PER_COPY = 256  # images copied to the device at a time
FREE_SHARE = 0.5  # largest share of the free memory that `auto` uses for images

ReadRows = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # rows -> (n, c, h, w)


class ImageSource(Protocol):
    """All images of a study, indexed by number."""

    @property
    def device(self) -> torch.device: ...

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each index, (n, c, h, w) uint8 on the device, in the order given."""
        ...


@dataclass(frozen=True)
class ImagesOnDevice:
    """All images in the device's memory."""

    images: Tensor  # (n, c, h, w), uint8

    @property
    def device(self) -> torch.device:
        return self.images.device

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        return (self.images[index.to(self.device)] for index in indices)


@dataclass(frozen=True)
class StreamedImages:
    """Images read from the store when they are needed, a few batches ahead."""

    read: ReadRows
    device: torch.device

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(1, thread_name_prefix="images") as reader:
            waiting: deque[Future[Tensor]] = deque()
            for index in indices:
                waiting.append(reader.submit(self._read_batch, index))
                if len(waiting) > BATCHES_READ_AHEAD:
                    yield waiting.popleft().result().to(self.device, non_blocking=True)
            while waiting:
                yield waiting.popleft().result().to(self.device, non_blocking=True)

    def _read_batch(self, index: Tensor) -> Tensor:
        pixels = torch.from_numpy(self.read(index.cpu().numpy()))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels


@dataclass(frozen=True)
class PackedImages:
    """The images `ids` of a store, read when a slice or a list of row numbers is requested."""

    images: ImageStore
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> Tensor:  # (n, c, h, w), uint8
        return torch.from_numpy(self.images.pixels(self.ids[rows]))

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images (n, c, h, w) of these row numbers."""
        return self.images.pixels([self.ids[row] for row in rows])


@dataclass(frozen=True)
class PackedMasks(PackedImages):
    """The masks of the evidence of the images `ids`; all zero for an image without evidence."""

    def __getitem__(self, rows: slice) -> Tensor:  # (n, 1, h, w), uint8
        return torch.from_numpy(self._masks(self.ids[rows]))

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the masks (n, 1, h, w) of these row numbers."""
        return self._masks([self.ids[row] for row in rows])

    def _masks(self, ids: Sequence[str]) -> NDArray[np.uint8]:
        return self.images.mask("evidence", ids)[0][:, None].astype(np.uint8)


def open_image_source(
    packed: PackedImages, storage: str, device: torch.device, memory_limit: int | None = None
) -> ImageSource:
    """Return a source of packed images or masks.

    `storage`: device, stream or auto. `memory_limit`: the bytes that this job may use.
    """
    size = int(np.prod(packed[:1].shape[1:])) * len(packed)
    room = FREE_SHARE * free_memory(device, memory_limit)
    if storage == "stream" or (storage == "auto" and size > room):
        message = f"{len(packed)} images of {size / 1e6:.0f} MB are read as they are needed"
        reason = f": more than {room / 1e6:.0f} MB" if storage == "auto" else ""
        print(message + reason, flush=True)  # noqa: T201 - the job's log
        return StreamedImages(packed.read, device)
    return ImagesOnDevice(_copy_to_device(packed, device))


def free_memory(device: torch.device, memory_limit: int | None = None) -> int:
    """Return the free bytes of the device for this process; on the CPU at most `memory_limit`."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    return available if memory_limit is None else min(available, memory_limit)


def _copy_to_device(packed: PackedImages, device: torch.device) -> Tensor:
    """Copy all images in pieces, so that the host never has all of them in memory in addition to the device's copy."""
    shape = (len(packed), *packed[:1].shape[1:])
    images = torch.empty(shape, dtype=torch.uint8, device=device)
    for start in range(0, len(packed), IMAGES_PER_COPY):
        images[start : start + IMAGES_PER_COPY] = packed[start : start + IMAGES_PER_COPY].to(device)
    return images
