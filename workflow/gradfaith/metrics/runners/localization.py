"""Runs localization metrics over some maps of one method: numpy only.

Every metric names the region it reads (`METRIC.region`); the caller gives the regions it has, a mask per map, as objects
that keep what they computed, so that the maps of other methods share it. Maps are evaluated, sorted and summed once for all
metrics. A metric may give several variants (thresholds, say). Cost: about 1 ms per map for all metrics at 224 x 224 on one
core.
"""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.errors import MaskSizeMismatch
from gradfaith.metrics.contract import Chosen, Result, Values, settle
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.maps.located import Located, Ranked, Region
from gradfaith.vocabulary import Grid

Regions = Mapping[str, Region]  # one that the images do not have is left out


def localize(
    maps: NDArray[Any],  # (m, h0, w0)
    *,
    grid: Grid,
    signed: bool,
    size: tuple[int, int],
    regions: Regions,
    metrics: Chosen,
) -> dict[tuple[str, str], Result]:
    """A result per metric label and variant, in the maps' order."""
    _check(regions, (len(maps), *size))
    unit, degenerate, broken = evaluate(maps, grid=grid, signed=signed, size=size)
    usable, ranked = ~(degenerate | broken), Ranked(unit)
    here = {name: Located(ranked, region) for name, region in {**regions, **_nowhere(unit)}.items()}
    return {
        (label, variant): settle(_of_usable(values, usable), degenerate, broken)
        for label, (module, options) in metrics.items()
        for variant, values in _score(module, options, here, len(unit))
    }


def _nowhere(unit: NDArray[Any]) -> dict[str, Region]:
    """What a metric without a region is given beside the maps."""
    return {"": Region(np.broadcast_to(np.False_, unit.shape))}


def _score(
    module: ModuleType, options: Mapping[str, Any], here: Mapping[str, Located], count: int
) -> Iterator[tuple[str, Values]]:
    region = module.METRIC.region
    if region not in here:
        nothing = np.full(count, np.nan)
        yield "", Values(nothing, undefined=np.isnan(nothing), reason=f"this image has no {region}")
        return
    with np.errstate(divide="ignore", invalid="ignore"):  # of a constant map, which is not read
        found: Values | Mapping[str, Values] = module.score(here[region], **options)
    yield from [("", found)] if isinstance(found, Values) else found.items()


def _of_usable(values: Values, usable: NDArray[np.bool_]) -> Values:
    undefined = None if values.undefined is None else values.undefined[usable]
    return Values(values.value[usable], undefined, values.reason)


def _check(regions: Regions, shape: tuple[int, ...]) -> None:
    for name, region in regions.items():
        if region.mask.shape != shape:
            raise MaskSizeMismatch(
                found=f"the masks of region {name} are {region.mask.shape}, the maps are to be {shape}.",
                why="A mask must lie on its map pixel by pixel; resizing it here would move the evidence.",
                then="Give one mask per map, at the images' size.",
            )
