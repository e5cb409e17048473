"""An image that is no part of a study, decoded, fitted and harmonised as the study's own images are (pack.py)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.data.decode import decode
from gradfaith.data.fit import Fit
from gradfaith.data.harmonise import Harmonise


def read(path: Path, image: Mapping[str, Any], *, colour: int) -> NDArray[np.uint8]:  # (c, size, size)
    """`image` is the study's key of that name; `colour` is what the dataset's reader decodes: 1 grey, 3 colour."""
    fitted = Fit(image["size"], image["fit"]).pixels(decode(path, colour), image["channels"])
    return Harmonise(**image["harmonise"])(fitted)
