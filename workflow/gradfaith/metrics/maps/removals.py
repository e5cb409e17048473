"""Remove pixels in the map's order or region by region, and measure the effect of each region's removal.

Pixels, from the most relevant to the least: a total order, the same for every share.

    key of a pixel = (its value, a random number of the image's own)

The random number, which all maps of an image share, breaks ties, so that exactly round(share * N) pixels are removed
from any map. A percentile threshold would remove all tied pixels at once: for a map that is 90 % zero, nine tenths of
the image at every share. Removing the least relevant first is the same order in reverse. Cost: one sort per map and one
per image, once for all metrics.

Regions, removed one at a time, as one map of region numbers:

    with parts       every part under its own number
    without parts    1: the evidence, 2: a planted shortcut if there is one, from 128: decoys

A decoy is the evidence's own shape placed elsewhere in the body (in the image, if the body is not known), on no other
region: as large, as compact, and without planted importance. Positions are tried in an order drawn for the image until
`count` decoys are placed; if the body has too little space, there are fewer. The first decoys are the same for any
`count`. An image without evidence has no regions. Cost: 2 ms per image, 50 ms for evidence so large that few positions
have space for it.

Removals of regions are the same for all maps of an image, so they run once for all methods. A region that an image does
not have removes nothing and is not read. Values that differ by less than 1e-5 of the largest count as equal: this is the
resolution of single precision, and its noise must not rank regions without effect.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import FIRST_DECOY, BatteryMaps, MaskedChange, RankedRemoval, Scores


@dataclass(frozen=True)
class PixelOrder:
    """The pixels of each map in order, from the most relevant to the least."""

    pixels: Tensor  # (m, h w) numbers of the pixels
    rank: Tensor  # (m, h, w) their ranks: 0 for the most relevant, h w - 1 for the least

    def kept(self, removal: RankedRemoval) -> tuple[int, int]:
        """Return the first rank of the pixels that stay, and the rank after the last."""
        count = self.pixels.shape[1]
        gone = round(removal.share * count)
        return (gone, count) if removal.order == "most" else (0, count - gone)

    def keep_mask(self, removal: RankedRemoval, maps: list[int] | slice = slice(None)) -> Tensor:
        """Return the masks (m, h, w) in {0, 1} of the pixels that stay, for some of the maps."""
        first, last = self.kept(removal)
        rank = self.rank[maps]
        return (rank >= first if first else rank < last).float()


def rank_pixels(unit: Tensor, ties: Tensor, image: Tensor | None = None) -> PixelOrder:
    """Rank the pixels of maps (m, h, w); random numbers break ties.

    `ties`: (m, h, w) for the maps, or (k, h, w) for k images and `image` (m,) the row of each map's image.
    """
    place = torch.arange(ties[0].numel(), device=unit.device, dtype=torch.int32)
    lot = _sort_keys(_keys(ties.flatten(1), descending=False).bitwise_or_(place))  # pixels, by their random numbers
    drawn = torch.empty_like(lot, dtype=torch.int32).scatter_(1, lot, place.expand_as(lot))  # and the numbers' ranks
    keys, rows = _keys(unit.flatten(1), descending=True), list(range(len(unit))) if image is None else image.tolist()
    for key, row in zip(keys, rows, strict=True):
        key.bitwise_or_(drawn[row])
    order = _sort_keys(keys)
    for one, row in zip(order, rows, strict=True):
        one.copy_(lot[row].index_select(0, one))
    rank = torch.empty_like(order, dtype=torch.int32).scatter_(1, order, place.expand_as(order))
    return PixelOrder(order, rank.reshape(unit.shape))


def _keys(values: Tensor, *, descending: bool) -> Tensor:  # (m, n) in [0, 1] -> (m, n)
    """Return integers that sort like the values, and whose lower 32 bits are 0, for a second criterion.

    The bits of a single-precision float of at least 0 sort like the float. With a rank in the bits below, they are one integer, and numpy
    sorts integers eight times as fast as torch sorts values with positions on a CPU.
    """
    single = values.dtype == torch.float32  # adding 0 turns -0 into 0
    bits = (values + 0.0).view(torch.int32) if single else torch.unique(values, return_inverse=True)[1].int()
    return (bits.bitwise_not_() if descending else bits).long().bitwise_left_shift_(32)


def _sort_keys(keys: Tensor) -> Tensor:  # (m, n) -> (m, n)
    """Sort rows in place, and return the lower 32 bits."""
    if keys.is_cpu:
        keys.numpy().sort(axis=1)
    else:
        keys = keys.sort(dim=1).values
    return keys.bitwise_and_(0xFFFFFFFF)


def kth_smallest(values: Tensor, k: int) -> Tensor:  # (m, n) -> (m,)
    """Return the k-th smallest value of each row, counted from 1; on a CPU numpy is several times as fast as torch."""
    if values.is_cpu:
        return torch.from_numpy(np.partition(values.numpy(), k - 1, axis=1)[:, k - 1].copy())
    return values.kthvalue(k, dim=1).values


TIE_TOLERANCE = 1e-5  # values that differ by less than this, relative to the largest, count as equal


@dataclass(frozen=True)
class RegionEffects:
    """The map's mass in each region, and the effect of the region's removal; all (k, m): regions, maps."""

    present: Tensor  # bool: the image has the region
    share: Tensor  # of the map's mass in the region
    area: Tensor  # of the region, as a share of the image
    drop: Tensor  # of the class's logit when the region is removed


def region_changes(maps: BatteryMaps, decoys: int) -> Iterator[MaskedChange]:
    """Yield one change per region of these images, with the first `decoys` decoys."""
    if maps.regions is None:
        raise StudyInvalid(
            problem="a regional metric is used, but the masking runner has no regions.",
            reason="A regional metric removes the regions of an image one at a time.",
            fix="Give the masking runner `regions`, a map of region numbers per image.",
        )
    for number in maps.regions.unique().tolist():
        if 0 < number < FIRST_DECOY + decoys:
            yield MaskedChange(f"without region {number}", partial(_keep_outside, maps, number), per_image=True)


def _keep_outside(maps: BatteryMaps, number: int) -> Tensor:  # (m, h, w) in {0, 1}
    stays: Tensor = (maps.regions != number).to(maps.unit.dtype)
    return stays


def region_effects(base: Scores, after: Mapping[str, Scores]) -> RegionEffects:
    """Return the effects of `region_changes` from the scores after them; without regions, one region that no image has."""
    scores = list(after.values())
    if not scores:
        nothing = torch.zeros_like(base.logit, dtype=torch.float64)[None]
        return RegionEffects(nothing > 0, nothing, nothing, nothing)
    share, area, logit = (
        torch.stack([getattr(one, what) for one in scores]).double() for what in ("mass", "area", "logit")
    )
    present = area > 0
    drop = base.logit.double() - logit
    size = torch.maximum(drop.abs().amax(dim=0), base.logit.double().abs())
    return RegionEffects(present, share, area, torch.where(present, round_to_ties(drop, size), 0.0))


def round_to_ties(values: Tensor, size: Tensor) -> Tensor:  # (k, m), (m,) -> (k, m)
    """Round values so that values within the resolution of single precision become equal."""
    step = (TIE_TOLERANCE * size).clamp(min=1e-30)
    return (values / step).round() * step


def compare_shares(one: Tensor, other: Tensor) -> Tensor:  # (m,)
    """Return 1 if the first is larger, 1/2 if both are equal, else 0."""
    away = one - other
    close = away.abs() <= TIE_TOLERANCE * torch.maximum(one.abs(), other.abs())
    return torch.where(close, 0.5, (away > 0).double())


def spearman_over_regions(
    first: Tensor, second: Tensor, present: Tensor
) -> tuple[Tensor, Tensor]:  # (k, m) each -> (m,), (m,)
    """Return the rank correlation over an image's regions, ties by average rank, and whether it is undefined."""
    ranked = [_ranks(side, present) for side in (first, second)]
    count = present.sum(dim=0).clamp(min=1)
    a, b = (torch.where(present, side - (side * present).sum(dim=0) / count, 0.0) for side in ranked)
    size = (a.square().sum(dim=0) * b.square().sum(dim=0)).sqrt()
    flat = size <= 0
    return ((a * b).sum(dim=0) / torch.where(flat, 1.0, size)).clamp(-1, 1), flat


def _ranks(values: Tensor, present: Tensor) -> Tensor:  # (k, m)
    """Count the image's regions below each region, plus half of the equal ones."""
    others, own, counted = values[None], values[:, None], present[None].double()
    return (((others < own).double() + (others == own).double() / 2) * counted).sum(dim=1)


def first_reason(cases: Sequence[tuple[Tensor, str]]) -> NDArray[np.object_]:  # of (m,) bool -> (m,)
    """Return the first reason that applies, map by map."""
    masks = [mask.cpu().numpy() for mask, _ in cases]
    return np.select(masks, [np.array(reason, dtype=object) for _, reason in cases], default="")


RegionMask = NDArray[np.bool_]
EVIDENCE, SHORTCUT = 1, 2


def number_regions(
    evidence: RegionMask, shortcut: RegionMask, body: RegionMask, count: int, stream: np.random.Generator
) -> NDArray[np.uint8]:  # each (h, w)
    """Number the evidence, the shortcut and the decoys of one image; an empty mask counts as missing."""
    regions = np.zeros(evidence.shape, dtype=np.uint8)
    if not evidence.any():
        return regions
    regions[shortcut] = SHORTCUT
    regions[evidence] = EVIDENCE
    rows, columns = (np.flatnonzero(evidence.any(axis=axis)) for axis in (1, 0))
    shape = evidence[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    free = (body if body.any() else np.ones_like(evidence)) & (regions == 0)
    placed = 0
    for top, left in _places(free, shape, stream):
        place = slice(top, top + shape.shape[0]), slice(left, left + shape.shape[1])
        if placed == count:
            break
        if free[place][shape].all():
            regions[place][shape] = FIRST_DECOY + placed
            free[place][shape] = False
            placed += 1
    return regions


def _places(free: RegionMask, shape: RegionMask, stream: np.random.Generator) -> NDArray[np.int64]:  # (p, 2)
    """Return possible positions of the shape's window, in an order drawn for the image: its first pixel must be free."""
    rows, columns = np.nonzero(free)
    first = int(shape[0].argmax())
    corners = np.stack([rows, columns - first], axis=1)
    room = (corners >= 0).all(axis=1) & (corners + shape.shape <= free.shape).all(axis=1)
    return stream.permutation(corners[room])
