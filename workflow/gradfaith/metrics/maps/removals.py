"""The order a map puts the pixels in, from the most relevant to the least: total, and the same for every share.

    key of a pixel = (its value, a random number of the image's own)

Ties are broken by the random number, which all maps of an image share, so that exactly round(share * N) pixels are removed
whatever the map. A percentile threshold would take all tied pixels at once: of a map that is 90 % zero, nine tenths of the
image at every share. The least relevant first is the same order, backwards. Cost: two sorts per map, once for all metrics.

What metrics of regions share: each region taken away alone, what that costs, and what the map had there.

Removals are the same for all maps of an image, so they are run once for all methods. Which regions an image has is decided
before (metrics/maps/regions_removed.py); one that it lacks takes nothing away and is not read. Numbers nearer than a hundred-thousandth of the
largest are level: single precision tells no more apart, and its noise must not rank regions that do not matter.

The regions of an image that can be taken away one at a time, as one map of numbers.

    parts known      every part under its own number
    else             1: the evidence, 2: a planted shortcut where there is one, 128 on: decoys

A decoy is the evidence's own shape laid somewhere else in the body (in the image, where the body is not known), on no other
region: as large, as compact, and of no importance that anyone planted. Places are tried in an order drawn for the image
until `count` decoys lie; where the body has no room for so many there are fewer. The first few of many decoys are those
that fewer would have been. An image without evidence has no regions. Cost: 2 ms per image, 50 for evidence so large that
few places have room for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import DECOY, Change, Maps, Removal, Scores


def ranks(unit: Tensor, ties: Tensor) -> Tensor:  # (m, h, w), (m, h, w) -> (m, h, w)
    """0 for the most relevant pixel, N - 1 for the least."""
    lot = ties.flatten(1).argsort(dim=1)
    order = lot.gather(1, unit.flatten(1).gather(1, lot).argsort(dim=1, descending=True, stable=True))
    place = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place).reshape(unit.shape)


def kept(rank: Tensor, removal: Removal) -> Tensor:  # (m, h, w) -> (m, h, w) in {0, 1}
    """Where a pixel stays when a share is removed."""
    pixels = rank.shape[1] * rank.shape[2]
    count = round(removal.share * pixels)
    stays = rank >= count if removal.order == "most" else rank < pixels - count
    return stays.float()


def tied(unit: Tensor) -> Tensor:  # (m, h, w) -> (m,)
    """The share of pixels whose value another pixel has, too."""
    values = unit.flatten(1).sort(dim=1).values
    same = values[:, 1:] == values[:, :-1]
    edge = torch.zeros_like(same[:, :1])
    return (torch.cat([same, edge], dim=1) | torch.cat([edge, same], dim=1)).float().mean(dim=1)


LEVEL = 1e-5


@dataclass(frozen=True)
class Regions:
    """Of every region of every map's image; all (k, m)."""

    there: Tensor  # bool: the image has it
    share: Tensor  # of the map's mass that lies in it
    area: Tensor  # share of the image
    drop: Tensor  # of the class's logit when it is taken away


def removals(maps: Maps, decoys: int) -> Iterator[Change]:
    """One change per region of these images; of the decoys the first few."""
    if maps.regions is None:
        raise StudyInvalid(
            found="a metric of regions was asked for, and the engine was given none.",
            why="It takes the regions of an image away, one at a time.",
            then="Give the engine `regions`, a map of numbers per image.",
        )
    for number in maps.regions.unique().tolist():
        if 0 < number < DECOY + decoys:
            yield Change(f"without region {number}", partial(_without, maps, number), of_image=True)


def _without(maps: Maps, number: int) -> Tensor:  # (m, h, w) in {0, 1}
    stays: Tensor = (maps.regions != number).to(maps.unit.dtype)
    return stays


def regions(base: Scores, after: Mapping[str, Scores]) -> Regions:
    """What the answers to `removals` say; with no region at all, one that no image has."""
    answers = list(after.values())
    if not answers:
        nothing = torch.zeros_like(base.logit, dtype=torch.float64)[None]
        return Regions(nothing > 0, nothing, nothing, nothing)
    share, area, logit = (
        torch.stack([getattr(one, what) for one in answers]).double() for what in ("mass", "area", "logit")
    )
    there = area > 0
    drop = base.logit.double() - logit
    size = torch.maximum(drop.abs().amax(dim=0), base.logit.double().abs())
    return Regions(there, share, area, torch.where(there, levelled(drop, size), 0.0))


def levelled(values: Tensor, size: Tensor) -> Tensor:  # (k, m), (m,) -> (k, m)
    """Values that single precision does not tell apart made equal."""
    step = (LEVEL * size).clamp(min=1e-30)
    return (values / step).round() * step


def spearman(first: Tensor, second: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:  # (k, m) each -> (m,), (m,)
    """Rank correlation over the regions an image has, ties by average rank, and where there is none."""
    ranked = [_ranks(side, there) for side in (first, second)]
    count = there.sum(dim=0).clamp(min=1)
    a, b = (torch.where(there, side - (side * there).sum(dim=0) / count, 0.0) for side in ranked)
    size = (a.square().sum(dim=0) * b.square().sum(dim=0)).sqrt()
    flat = size <= 0
    return ((a * b).sum(dim=0) / torch.where(flat, 1.0, size)).clamp(-1, 1), flat


def _ranks(values: Tensor, there: Tensor) -> Tensor:  # (k, m)
    """How many regions lie below, and half of those that are level."""
    others, own, known = values[None], values[:, None], there[None].double()
    return (((others < own).double() + (others == own).double() / 2) * known).sum(dim=1)


def why(cases: Sequence[tuple[Tensor, str]]) -> NDArray[np.object_]:  # of (m,) bool -> (m,)
    """The first of the reasons that holds, map by map."""
    masks = [mask.cpu().numpy() for mask, _ in cases]
    return np.select(masks, [np.array(reason, dtype=object) for _, reason in cases], default="")


Mask = NDArray[np.bool_]
EVIDENCE, SHORTCUT = 1, 2


def numbered(
    evidence: Mask, shortcut: Mask, body: Mask, count: int, stream: np.random.Generator
) -> NDArray[np.uint8]:  # each (h, w)
    """Evidence, shortcut and decoys of one image; an empty mask is one that the image does not have."""
    regions = np.zeros(evidence.shape, dtype=np.uint8)
    if not evidence.any():
        return regions
    regions[shortcut] = SHORTCUT
    regions[evidence] = EVIDENCE
    window = find_objects(evidence.astype(np.uint8))[0]
    shape = evidence[window]
    free = (body if body.any() else np.ones_like(evidence)) & (regions == 0)
    laid = 0
    for top, left in _places(free, shape, stream):
        there = slice(top, top + shape.shape[0]), slice(left, left + shape.shape[1])
        if laid == count:
            break
        if free[there][shape].all():
            regions[there][shape] = DECOY + laid
            free[there][shape] = False
            laid += 1
    return regions


def _places(free: Mask, shape: Mask, stream: np.random.Generator) -> NDArray[np.int64]:  # (p, 2)
    """Where the shape's window could begin, in an order drawn for the image: its first pixel must be free."""
    rows, columns = np.nonzero(free)
    first = int(shape[0].argmax())
    corners = np.stack([rows, columns - first], axis=1)
    room = (corners >= 0).all(axis=1) & (corners + shape.shape <= free.shape).all(axis=1)
    return stream.permutation(corners[room])
