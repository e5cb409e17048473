"""Image files become 8-bit arrays, exactly and within bounds, or are refused by name.

    PNG, JPEG, TIFF, BMP     by what the file holds, whatever its suffix says; no other decoder of Pillow is ever started
    orientation (EXIF)       applied: masks and boxes are drawn on the picture as viewers show it
    palette, CMYK, 1 bit     through RGB, so that a palette picture reads as the same picture without one
    transparency             laid on black: black is what lies outside a scan, nothing hidden under a transparent pixel comes
                             back, and a transparent pixel of a mask is no evidence. Of an opaque picture it changes nothing

Refused: more than 8 bits per channel (Pillow would silently keep the upper half), stacks and animations (a stack is not an
image), more than 64 megapixels, PNGs whose checksums do not match, masks kept as JPEG, and whatever else Pillow cannot read to its end.
Colour becomes grey by ITU-R 601-2 luma. Costs about 2 ms per JPEG of 512 x 512 pixels, and at most about 1 GiB of memory per call.
Thread-safe: Pillow's plug-ins and the warnings of its parsers are settled once, when this file is imported.

An image that is no part of a study, decoded, fitted and harmonised as the study's own images are (pack.py).
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from gradfaith.data.fit import Fit, Harmonise
from gradfaith.errors import LossyMask, MaskSizeMismatch, Refusal, UnreadableImage

PIXELS = 64_000_000  # of one image
FORMATS = tuple(
    plugin.format  # naming the plug-ins here registers them, so that no call has to
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        TiffImagePlugin.TiffImageFile,
        BmpImagePlugin.BmpImageFile,
    )
)
JPEG_IN_TIFF = {"jpeg", "tiff_jpeg"}
DEEP = re.compile(r";16[BLNS]")
PARTS = 127  # the highest number of a part; higher ones are kept for decoys
SIGNED, SAMPLE_FORMAT, ORIENTATION = 2, 339, 274  # TIFF tags and a value
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def quieten() -> None:
    """Pillow warns of odd metadata and large images in passing; here an image is read or refused, and that is said once."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


quieten()


def decode(path: Path, channels: int) -> NDArray[np.uint8]:  # (h, w) or (h, w, 3)
    """An 8-bit image, grey or colour."""
    # By its name Pillow would map an uncompressed TIFF into memory, and scramble one that lies on its side: hence the file.
    with _named(path), path.open("rb") as file:
        with Image.open(file, formats=FORMATS) as image:
            _admit(image)
            image.load()
            turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))  # TIFFs are turned by now, and say so no more
            plain = _plain(image if turn is None else image.transpose(turn), "L" if channels == 1 else "RGB")
        if image.format == "PNG":
            with Image.open(file, formats=FORMATS) as again:
                again.verify()  # loading skips the pixels' checksums: a flipped bit would pass for another image
        return np.asarray(plain)


def decode_mask(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:  # (h, w)
    """A mask that lies on its image pixel by pixel: non-zero, in any channel, is evidence."""
    _lossless(path)
    mask: NDArray[np.bool_] = np.any(decode(path, 3), axis=2)
    if mask.shape != size:
        raise MaskSizeMismatch(
            found=f'mask of "{image.name}" is {mask.shape[1]} x {mask.shape[0]}, its image is {size[1]} x {size[0]}.',
            why="A mask must lie on its image pixel by pixel; resizing it here would move the evidence.",
            then=f"Re-export {path} at {size[1]} x {size[0]}, or leave it out (the image then counts as having no evidence).",
        )
    return mask


def decode_parts(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:  # (h, w)
    """A label map that lies on its image pixel by pixel: a grey picture whose values are the numbers of parts."""
    _lossless(path)
    picture = decode(path, 3)
    if picture.shape[:2] != size:
        raise MaskSizeMismatch(
            found=f'parts of "{image.name}" are {picture.shape[1]} x {picture.shape[0]}, its image is {size[1]} x {size[0]}.',
            why="Parts must lie on their image pixel by pixel; resizing them here would move them.",
            then=f"Re-export {path} at {size[1]} x {size[0]}.",
        )
    parts = picture[..., 0]
    if (picture != parts[..., None]).any() or parts.max(initial=0) > PARTS:
        said = f"part number {parts.max()}" if (picture == parts[..., None]).all() else "colours"
        raise UnreadableImage(
            found=f"the parts {path} hold {said}.",
            why=f"The grey of a pixel is the number of its part, 1 to {PARTS}, and 0 is none.",
            then="Export the label map as a grey 8-bit PNG with these numbers.",
        )
    return np.ascontiguousarray(parts)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is this file's fault, and is said with its name."""
    try:
        yield
    except Refusal:
        raise
    except UnidentifiedImageError as error:
        raise _unreadable(path, "it is no PNG, JPEG, TIFF or BMP, or its header is damaged") from error
    except Exception as error:  # a parser of foreign bytes raises anything: struct.error, KeyError, MemoryError, ...
        raise _unreadable(path, str(error).strip(" .") or type(error).__name__) from error


def _admit(image: Image.Image) -> None:
    """Refuse by the header what must not be decoded."""
    width, height = image.size
    tiles = getattr(image, "tile", [])
    if width * height == 0:
        raise ValueError(f"it is {width} x {height} pixels, so there is nothing in it")
    if width * height > PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, more than {PIXELS // 10**6} million")
    if image.mode.startswith(("I", "F")) or any(DEEP.search(str(tile)) for tile in tiles):
        raise ValueError(f"its pixels ({image.mode}) have more than 8 bits each")
    if getattr(image, "is_animated", False):
        raise ValueError("it holds several pictures, and a stack or an animation is not an image")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and SIGNED in image.tag_v2.get(SAMPLE_FORMAT, ()):
        raise ValueError("its pixels are signed, so it is not known which grey is black")


def _lossless(path: Path) -> None:
    """Refuse a mask that was kept as a JPEG, whatever its file is called, or as a TIFF that holds one."""
    with _named(path), path.open("rb") as file, Image.open(file, formats=FORMATS) as mask:
        if mask.format == "JPEG" or mask.info.get("compression") in JPEG_IN_TIFF:
            raise LossyMask(
                found=f"the mask {path} is a JPEG.",
                why="JPEG leaves faint ripples round every edge: none of them is zero, so the evidence would be wider than was drawn.",
                then="Export the mask again as PNG from where it was drawn; a JPEG that is saved as PNG keeps its ripples.",
            )


def _plain(image: Image.Image, mode: str) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert(mode) if image.mode in {"L", "1"} else image.convert("RGB").convert(mode)


def _unreadable(path: Path, said: str) -> UnreadableImage:
    return UnreadableImage(
        found=f"{path} cannot be read as an image: {said}.",
        why="An image left out in silence would change the study's data without a trace.",
        then="Export it again as one 8-bit PNG, JPEG or TIFF, or take it out of its folder.",
    )


def read(path: Path, image: Mapping[str, Any], *, colour: int) -> NDArray[np.uint8]:  # (c, size, size)
    """`image` is the study's key of that name; `colour` is what the dataset's reader decodes: 1 grey, 3 colour."""
    fitted = Fit(image["size"], image["fit"]).pixels(decode(path, colour), image["channels"])
    return Harmonise(**image["harmonise"])(fitted)
