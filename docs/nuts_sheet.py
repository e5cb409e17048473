"""Draw the contact sheet of the generated nuts: six images of each class, with and without the outline of the defect.

    python docs/nuts_sheet.py            writes docs/images/nuts.png; about 2 s

Images are 128 pixels wide and not enlarged. In each pair of rows the second one has the outline of the mask in cyan.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from gradfaith.data.readers import nuts
from gradfaith.data.readers.contract import DecodedImage

TARGET = Path(__file__).parent / "images" / "nuts.png"
COLUMNS, SIZE, CYAN = 6, 128, (59, 232, 255)


def outlined(image: DecodedImage) -> NDArray[np.uint8]:  # (h, w, 3)
    """Return an image with the outline of its defect, just outside the mask."""
    pixels = image.pixels.copy()
    if "evidence" in image.masks:
        pixels[binary_dilation(image.masks["evidence"]) & ~image.masks["evidence"]] = CYAN
    return pixels


def line(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return images side by side, with white lines between them."""
    return np.concatenate([np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=255) for image in images], axis=1)


def main() -> None:
    """Write the sheet."""
    options = nuts.Options(size=SIZE, good=COLUMNS, train_good=0, defects=COLUMNS)
    rows: dict[str, list[DecodedImage]] = {}
    for record in nuts.index(None, options):
        rows.setdefault(record.label, []).append(nuts.read(None, options, record, None))
    lines = []
    for images in rows.values():
        lines.append(line([image.pixels for image in images]))
        if images[0].masks:
            lines.append(line([outlined(image) for image in images]))
    Image.fromarray(np.concatenate(lines)).quantize(256).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
