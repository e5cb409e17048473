"""Draw the contact sheet of docs/shapes.md: size ranges, evidence, and the options.

    python docs/shapes_sheet.py            writes docs/images/shapes.jpg; seconds

Rows: three of a background, as the default options draw it; the same images with the outline of their evidence in white;
the options `texture`, `occlusion: 0.3`, `shapes: 3`, and the images of 96 pixels of config/studies/refine-small.yaml.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from gradfaith.data.readers import shapes

TARGET = Path(__file__).parent / "images" / "shapes.jpg"
TILE, TILES = 112, 12
SMALL_STUDY = {"size": 96, "small": (0.11, 0.14), "medium": (0.18, 0.24)}
Pixels = NDArray[np.uint8]


def row(background: int, outlined: bool = False, **options: object) -> Pixels:
    """Return a background's first images side by side."""
    chosen = shapes.Options.model_validate({"backgrounds": background + 1, **options})
    own = [record for record in shapes.index(None, chosen) if record.group == f"background-{background:04d}"]
    tiles = []
    for record in own[:TILES]:
        image = shapes.read(None, chosen, record, None)
        if outlined:
            mask = image.masks["evidence"]
            image.pixels[binary_dilation(mask, iterations=3) & ~mask] = 255
        tiles.append(np.asarray(Image.fromarray(image.pixels).resize((TILE, TILE), Image.Resampling.LANCZOS)))
    return np.concatenate(tiles, axis=1)


if __name__ == "__main__":
    rows = [
        *(row(number) for number in range(3)),
        *(row(number, outlined=True) for number in range(3)),
        row(3, texture=True),
        row(3, occlusion=0.3),
        row(3, shapes=3),
        row(4, **SMALL_STUDY),
    ]
    Image.fromarray(np.concatenate(rows)).save(TARGET, quality=85)
