"""A localization job: the maps of one model handed to the runner beside the masks of its images."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.metrics.localize import localize
from gradfaith.rows import Chosen, every_map, frame, of_target
from gradfaith.stores import Images, Maps

REGIONS = ("evidence", "shortcut")


def scores(
    images: Images, stores: Sequence[Maps], predictions: pd.DataFrame, metrics: Chosen, model: Mapping[str, Any]
) -> pd.DataFrame:
    """Localization scores of all methods of one model."""
    frames = []
    for maps in stores:
        for target in ("predicted", "true"):
            wanted = {label: use for label, use in metrics.items() if use[0].METRIC.target == target}
            rows = of_target(maps.rows, target)
            if not wanted or not len(rows):
                continue
            ids = list(maps.rows["image_id"].iloc[rows])
            regions = {region: images.mask(region, ids)[0] for region in REGIONS if region in images.regions}
            for label, info, copy in every_map(maps):
                found = localize(
                    maps.maps(label, copy)[rows], grid=info.grid, signed=info.signed, size=images.size, regions=regions, metrics=wanted
                )  # fmt: skip
                for metric, result in found.items():
                    what = {
                        **model,
                        "method": label,
                        "copy": copy,
                        "layer": info.layer,
                        "target": target,
                        "metric": metric,
                    }
                    frames.append(frame(result, ids, predictions, what))
    return pd.concat(frames, ignore_index=True)
