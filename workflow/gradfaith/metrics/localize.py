"""Runs localization metrics over the maps of one method: numpy only, chunk by chunk.

Every metric names the region it reads (`METRIC.region`); the caller gives the regions it has, one mask per map. A map is
evaluated once for all metrics. Cost: 2.5 ms per map for four metrics at 224 x 224 on one core, most of it the sorting of
iou_area_matched.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.errors import MaskSizeMismatch
from gradfaith.metrics.contract import Chosen, Grid, Result, Values, join, settle
from gradfaith.metrics.evaluated import evaluate

Regions = Mapping[str, NDArray[np.bool_]]  # region name -> (m, h, w); one that the images do not have is left out


def localize(
    maps: NDArray[Any],  # (m, h0, w0)
    *,
    grid: Grid,
    signed: bool,
    size: tuple[int, int],
    regions: Regions,
    metrics: Chosen,
    chunk: int = 128,
) -> dict[str, Result]:
    """A result per metric label, in the maps' order."""
    _check(regions, (len(maps), *size))
    parts = []
    for start in range(0, len(maps), chunk):
        rows = slice(start, start + chunk)
        unit, degenerate, broken = evaluate(maps[rows], grid=grid, signed=signed, size=size)
        usable = ~(degenerate | broken)
        here = {name: mask[rows][usable] for name, mask in regions.items()}
        values = {label: _score(module, options, unit[usable], here) for label, (module, options) in metrics.items()}
        parts.append({label: settle(value, degenerate, broken) for label, value in values.items()})
    return {label: join([part[label] for part in parts]) for label in metrics}


def _score(module: ModuleType, options: Mapping[str, Any], unit: NDArray[Any], regions: Regions) -> Values:
    region = module.METRIC.region
    if region not in regions:
        nothing = np.full(len(unit), np.nan)
        return Values(nothing, undefined=np.isnan(nothing), reason=f"this image has no {region}")
    values: Values = module.score(unit, regions[region], **options)
    return values


def _check(regions: Regions, shape: tuple[int, ...]) -> None:
    for name, mask in regions.items():
        if mask.shape != shape:
            raise MaskSizeMismatch(
                found=f"the masks of region {name} are {mask.shape}, the maps are to be {shape}.",
                why="A mask must lie on its map pixel by pixel; resizing it here would move the evidence.",
                then="Give one mask per map, at the images' size.",
            )
