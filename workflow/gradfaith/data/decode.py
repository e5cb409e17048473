"""Decode image files to 8-bit arrays, exactly and within bounds, or refuse them by name.

    PNG, JPEG, TIFF, BMP     by the file's content, whatever its suffix; no other decoder of Pillow is ever started
    orientation (EXIF)       applied: masks and boxes are drawn on the image as viewers show it
    palette, CMYK, 1 bit     through RGB, so that a palette image reads as the same image without one
    transparency             laid on black: black is what lies outside a scan, nothing hidden under a transparent pixel
                             comes back, and a transparent pixel of a mask is no evidence; opaque images are unchanged

Refused: more than 8 bits per channel (Pillow would silently keep the upper half), stacks and animations (a
stack is not an image), more than 64 megapixels, PNGs whose checksums do not match, masks kept as JPEG, and
whatever else Pillow cannot read to its end. Colour becomes grey by ITU-R 601-2 luma. Costs about 2 ms per
JPEG of 512 x 512 pixels, and at most about 1 GiB of memory per call. Thread-safe: Pillow's plug-ins are settled
when this file is imported, the warnings of its parsers when the first image is read.

`read_as_in_study` decodes, fits and harmonises one further image as a study's own images are (pack.py). It also reads
grey images of more than 8 bits, through a window of grey values.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from gradfaith.config.sections import Image as StudyImage
from gradfaith.data.fit import Harmoniser, SquareFit
from gradfaith.errors import GradFaithError, LossyMask, MaskSizeMismatch, UnreadableImage

MAX_PIXELS = 64_000_000  # of one image
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
DEEP_MODES = ("I", "F")  # of Pillow: more than 8 bits per pixel
DEEP_TILE = re.compile(r";16[BLNS]")
MAX_PART = 127  # the highest number of a part; higher ones are kept for decoys
SAMPLE_FORMAT_TAG = 339  # a TIFF tag
ORIENTATION_TAG = 274  # a TIFF tag
SIGNED_SAMPLES = 2  # a value of SAMPLE_FORMAT
BOMB_WARNINGS = ("ignore", None, Image.DecompressionBombWarning, None, 0)  # as `warnings` keeps the filter
TURN_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, channels: int) -> NDArray[np.uint8]:  # (h, w) or (h, w, 3)
    """Decode an 8-bit image, grey (`channels` 1) or colour (3)."""
    # By its name Pillow would map an uncompressed TIFF into memory, and scramble one that lies on its side: hence the file.
    with _errors_of(path), path.open("rb") as file:
        with Image.open(file, formats=FORMATS) as image:
            _check_header(image)
            image.load()
            turn = TURN_UPRIGHT.get(
                image.getexif().get(ORIENTATION_TAG, 1)
            )  # TIFFs are turned by now, and say so no more
            plain = _to_mode(image if turn is None else image.transpose(turn), "L" if channels == 1 else "RGB")
        _verify_png(image, file)
        return np.asarray(plain)


def _verify_png(image: Image.Image, file: IO[bytes]) -> None:
    """Verify the checksums of a PNG's pixels, which loading skips: a flipped bit would pass for another image."""
    if image.format == "PNG":
        with Image.open(file, formats=FORMATS) as again:
            again.verify()


def decode_mask(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:  # (h, w)
    """Decode a mask of `image`, which has the same `size` (h, w): non-zero, in any channel, is evidence."""
    _check_lossless(path)
    mask: NDArray[np.bool_] = np.any(decode(path, 3), axis=2)
    if mask.shape != size:
        raise MaskSizeMismatch(
            problem=f'the mask of "{image.name}" is {mask.shape[1]} x {mask.shape[0]} pixels, but its image is {size[1]} x {size[0]}.',
            reason="Mask and image are compared pixel by pixel; resizing the mask would move the evidence.",
            fix=f"Export {path} again at {size[1]} x {size[0]}, or move it out of its folder (the image then has no evidence).",
        )
    return mask


def decode_parts(path: Path, image: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:  # (h, w)
    """Decode a label map of `image`, which has the same `size` (h, w); grey values are part numbers."""
    _check_lossless(path)
    decoded = decode(path, 3)
    if decoded.shape[:2] != size:
        raise MaskSizeMismatch(
            problem=f'the parts of "{image.name}" are {decoded.shape[1]} x {decoded.shape[0]} pixels, but its image is {size[1]} x {size[0]}.',
            reason="Parts and image are compared pixel by pixel; resizing the parts would move them.",
            fix=f"Export {path} again at {size[1]} x {size[0]}.",
        )
    parts = decoded[..., 0]
    if (decoded != parts[..., None]).any() or parts.max(initial=0) > MAX_PART:
        said = f"part number {parts.max()}" if (decoded == parts[..., None]).all() else "colours"
        raise UnreadableImage(
            problem=f"the parts in {path} have {said}.",
            reason=f"The grey value of a pixel is the number of its part, 1 to {MAX_PART}; 0 is no part.",
            fix="Export the label map as a grey 8-bit PNG with these numbers.",
        )
    return np.ascontiguousarray(parts)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn every error inside into an UnreadableImage that names the file; silence Pillow's warnings."""
    if (
        BOMB_WARNINGS not in warnings.filters
    ):  # here an image is either read or refused; settled once, as threads share it
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    try:
        yield
    except GradFaithError:
        raise
    except UnidentifiedImageError as error:
        raise _unreadable_image(path, "it is not a PNG, JPEG, TIFF or BMP, or its header is damaged") from error
    except Exception as error:  # a parser of foreign bytes raises anything: struct.error, KeyError, MemoryError, ...
        raise _unreadable_image(path, str(error).strip(" .") or type(error).__name__) from error


def _check_extent(image: Image.Image) -> None:
    """Refuse by its header an image of no size, of too many pixels, or of several frames."""
    width, height = image.size
    if width * height == 0:
        raise ValueError(f"it is {width} x {height} pixels, so there is nothing in it")
    if width * height > MAX_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million")
    if getattr(image, "is_animated", False):
        raise ValueError("it contains several images: stacks and animations are not supported")


def _check_header(image: Image.Image) -> None:
    """Refuse by its header an image that must not be decoded."""
    _check_extent(image)
    tiles = getattr(image, "tile", [])
    if image.mode.startswith(DEEP_MODES) or any(DEEP_TILE.search(str(tile)) for tile in tiles):
        raise ValueError(f"its pixels ({image.mode}) have more than 8 bits each")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and SIGNED_SAMPLES in image.tag_v2.get(SAMPLE_FORMAT_TAG, ()):
        raise ValueError("its pixels are signed, so it is not known which grey is black")


def _check_lossless(path: Path) -> None:
    """Refuse a mask that was kept as a JPEG, whatever its file is called, or as a TIFF that holds one."""
    with _errors_of(path), path.open("rb") as file, Image.open(file, formats=FORMATS) as mask:
        if mask.format == "JPEG" or mask.info.get("compression") in JPEG_IN_TIFF:
            raise LossyMask(
                problem=f"the mask {path} is a JPEG.",
                reason="JPEG compression adds faint non-zero pixels around every edge, so the evidence would be larger than drawn.",
                fix="Export the original mask again as PNG; converting the JPEG to PNG keeps the wrong pixels.",
            )


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert(mode) if image.mode in {"L", "1"} else image.convert("RGB").convert(mode)


def _unreadable_image(path: Path, problem: str) -> UnreadableImage:
    return UnreadableImage(
        problem=f"{path} cannot be read as an image: {problem}.",
        reason="GradFaith does not skip unreadable images silently, because that would change the study's data.",
        fix="Export it again as one 8-bit PNG, JPEG or TIFF, or move it out of its folder.",
    )


@dataclass(frozen=True)
class WindowedImage:
    """An 8-bit image, and the grey values that became black and white; None: it had 8 bits, and is as it was."""

    pixels: NDArray[np.uint8]
    window: tuple[float, float] | None


def read_as_in_study(
    path: Path, image: StudyImage, *, colour: int, window: tuple[float, float] | None = None
) -> WindowedImage:  # pixels: (c, size, size)
    """Read one image file as the images of a study are; one of more than 8 bits through a window of grey values.

    `image`: the study's key of that name; `colour`: what the dataset's reader decodes, 1 grey or 3 colour; `window`: what
    becomes black and white, by default the image's own lowest and highest value.
    """
    with _errors_of(path):
        deep = _read_deep(path)
        if deep is not None:
            low, high = window or (float(deep.min()), float(deep.max()))
            grey = np.clip((deep - low) / max(high - low, np.finfo(float).tiny), 0, 1)
            found = np.rint(255 * grey).astype(np.uint8)
            plain = found if colour == 1 else np.stack([found] * 3, axis=-1)
            window = (low, high)
        else:
            plain, window = decode(path, colour), None
    fitted = SquareFit(image.size, image.fit).pixels(plain, image.channels)
    return WindowedImage(Harmoniser(**image.harmonise.model_dump())(fitted), window)


def _read_deep(path: Path) -> NDArray[np.float64] | None:  # (h, w)
    """Return the values of a grey image of more than 8 bits; None for any other."""
    with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        if not image.mode.startswith(DEEP_MODES):
            return None
        _check_extent(image)
        image.load()
        turn = TURN_UPRIGHT.get(image.getexif().get(ORIENTATION_TAG, 1))
        values = np.asarray(image if turn is None else image.transpose(turn), dtype=np.float64)
        _verify_png(image, file)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    return values
