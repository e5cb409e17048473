"""Strata of lesion size: terciles over the images of the study that have a lesion.

The bounds are taken over images, not over scores, so that a stratum holds the same images for every method. An image
without a lesion belongs to none.
"""

import numpy as np
import pandas as pd

SIZES = ("small", "medium", "large")


def lesion_size(manifest: pd.DataFrame, image_ids: pd.Series) -> pd.Series:
    """image_id -> small, medium or large, for those of `image_ids` that have a lesion."""
    share = manifest.set_index("image_id")["lesion_share"].loc[image_ids.unique()]
    share = share[share > 0]
    if share.empty:
        return pd.Series(dtype=str)
    bounds = np.quantile(share, [1 / 3, 2 / 3])
    return pd.Series(np.array(SIZES)[np.searchsorted(bounds, share, side="left")], index=share.index)
