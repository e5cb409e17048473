"""Draw the contact sheet of the drawn birds: classes, scenes, birds without parts, part numbers.

python docs/birds_sheet.py          writes docs/images/birds.png
"""

from pathlib import Path

import numpy as np
from PIL import Image

from gradfaith.data.phantom.birds import CLASSES, draw_bird

SIZE, ENLARGED, SCENES = 64, 2, (0, 3, 5)


def main() -> None:
    """Write the sheet."""
    rows = [[draw_bird(0, scene, SIZE, kinds).pixels for kinds in CLASSES] for scene in SCENES]
    without: list[tuple[int, ...]] = [(), (1,), (2,), (3,), (4,), (5,)]
    rows.append([draw_bird(0, 1, SIZE, CLASSES[1], removed).pixels for removed in without])
    bare = [draw_bird(0, 1, SIZE, CLASSES[1], range(1, 6)).pixels, draw_bird(0, 1, SIZE, CLASSES[1], (), 1).pixels]
    numbers = [draw_bird(0, 1, SIZE, CLASSES[1]), *(draw_bird(0, scene, SIZE, CLASSES[4]) for scene in (3, 5, 7))]
    grey = [(45 * one.parts + 20 * one.objects).astype(np.uint8)[..., None].repeat(3, axis=2) for one in numbers]
    rows.append(bare + grey)
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    large = Image.fromarray(sheet).resize(
        (sheet.shape[1] * ENLARGED, sheet.shape[0] * ENLARGED), Image.Resampling.NEAREST
    )
    large.save(Path(__file__).parent / "images/birds.png", optimize=True)


if __name__ == "__main__":
    main()
