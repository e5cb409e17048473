"""The regions of images as a faithfulness job hands them to the engine: from the store's masks, decoys drawn by image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.metrics.decoys import numbered
from gradfaith.stores import Images


def regions(images: Images, ids: Sequence[str], decoys: int, seed: int) -> NDArray[np.uint8]:  # (n, h, w)
    """Parts where the store has them; else evidence, shortcut and decoys, the same in every job of the study."""
    parts, known = images.parts(ids)
    evidence, shortcut, body = (images.mask(region, ids)[0] for region in ("evidence", "shortcut", "body"))
    found = [
        parts[row]
        if known[row]
        else numbered(evidence[row], shortcut[row], body[row], decoys, rng.generator(seed, "decoys", image))
        for row, image in enumerate(ids)
    ]
    return np.stack(found) if found else parts
