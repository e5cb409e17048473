"""Image files become arrays; one that cannot be, or a mask of another size, is refused by name."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gradfaith.errors import MaskSizeMismatch, UnreadableImage

DEEP = re.compile(r";16[BLNS]")  # of 16-bit colour Pillow would silently keep the upper half


def decode(path: Path, channels: int) -> NDArray[np.uint8]:  # (h, w) or (h, w, 3)
    """An 8-bit image, grey or colour."""
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith(("I", "F")) or any(DEEP.search(str(tile)) for tile in image.tile)
            image.load()
            if deep:
                raise _unreadable(path, f"its pixels ({image.mode}) have more than 8 bits each")
            return np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, str(error)) from error


def decode_mask(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:  # (h, w)
    """A mask that lies on its image pixel by pixel: non-zero is evidence."""
    mask = decode(path, 1) > 0
    if mask.shape != size:
        raise MaskSizeMismatch(
            found=f'mask of "{image.name}" is {mask.shape[1]} x {mask.shape[0]}, its image is {size[1]} x {size[0]}.',
            why="A mask must lie on its image pixel by pixel; resizing it here would move the evidence.",
            then=f"Re-export {path} at {size[1]} x {size[0]}, or leave it out (the image then counts as having no evidence).",
        )
    return mask


def _unreadable(path: Path, said: str) -> UnreadableImage:
    return UnreadableImage(
        found=f"{path} cannot be read as an image: {said}.",
        why="An image left out in silence would change the study's data without a trace.",
        then="Export it again as 8-bit PNG, JPEG or TIFF, or take it out of its folder.",
    )
