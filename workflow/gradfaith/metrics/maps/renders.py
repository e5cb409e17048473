"""Images that a dataset has without some of their parts: reading them, and the effect of each part on map and model.

    importance of a part   share of the map's mass in the part, widened by WIDEN pixels                        [hesse2023]
    effect of a part       fall of the class's logit in the image without the part

Parts below FIRST_SURROUNDING are parts of the object, all others are things around it. Such images are the same for all maps of
an image, so each runs once for all methods.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from gradfaith.metrics.contract import BatteryMaps, PartRemoval, PartSet, Scores
from gradfaith.vocabulary import FIRST_SURROUNDING

WIDEN = 2  # pixels on every side, so 5 x 5 as in the published code
NO_RENDERS = "the dataset does not have this image without its parts"


@dataclass(frozen=True)
class RenderTable:
    """Which images without parts some images have."""

    sets: Sequence[PartSet]  # of all images of the battery
    number: Tensor  # (i, s) the number by which `read` finds the image without a set; -1: there is none
    sufficient: Tensor  # (i, s) bool
    shared: Tensor  # (i, s) 0, 1 or 2: as in RenderFacts
    read: Callable[[Sequence[int]], Tensor]  # numbers -> (n, c, h, w) in [0, 1]

    def select(self, rows: Tensor) -> "RenderTable":
        """Return the table of some rows, in their order."""
        return RenderTable(self.sets, self.number[rows], self.sufficient[rows], self.shared[rows], self.read)


class RenderRows(Protocol):
    """The images without parts of a battery's images."""

    def __getitem__(self, rows: slice, /) -> RenderTable: ...


def removals_of_parts(maps: BatteryMaps) -> list[PartRemoval]:
    """Return a removal for every set of parts of the object that the dataset has left out of an image."""
    return [PartRemoval(parts) for parts in maps.part_sets if parts[0] < FIRST_SURROUNDING]


def removals_of_one(maps: BatteryMaps) -> list[PartRemoval]:
    """Return the removals of one part of the object."""
    return [removal for removal in removals_of_parts(maps) if len(removal.parts) == 1]


def every_removal(maps: BatteryMaps) -> list[PartRemoval]:
    """Return every removal, of parts of the object and of things around it."""
    return [PartRemoval(parts) for parts in maps.part_sets]


def outside_parts(regions: Tensor, parts: PartSet) -> Tensor:  # (m, h, w) -> (m, h, w) in {0, 1}
    """Return 0 in the parts and at most WIDEN pixels beside them, else 1."""
    inside = torch.isin(regions, torch.tensor(parts, dtype=regions.dtype, device=regions.device))
    return 1 - max_pool2d(inside.float()[:, None], 2 * WIDEN + 1, stride=1, padding=WIDEN)[:, 0]


@dataclass(frozen=True)
class PartEffects:
    """Effects of removing parts, one at a time, and of all removals of parts of the object."""

    base: Scores
    after: Mapping[str, Scores]
    by_set: Mapping[PartSet, Scores] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_set", {PartRemoval.parts_of(name): scores for name, scores in self.after.items()})

    @property
    def parts(self) -> list[int]:
        """The parts of the object."""
        return sorted(parts[0] for parts in self.by_set if len(parts) == 1 and parts[0] < FIRST_SURROUNDING)

    @property
    def things(self) -> list[int]:
        """The things around the object."""
        return sorted(parts[0] for parts in self.by_set if len(parts) == 1 and parts[0] >= FIRST_SURROUNDING)

    def importance(self, numbers: Sequence[int], *, rival: bool = False) -> Tensor:  # (k, m)
        """Return the share of each map in each of these parts; with `rival` of the other class's map."""
        return self._stacked([self._side(self.by_set[(number,)], rival).mass.double() for number in numbers])

    def drop(self, sets: Sequence[PartSet], *, rival: bool = False) -> Tensor:  # (k, m)
        """Return how much the class's logit falls without each of these sets."""
        before = self._side(self.base, rival).logit.double()
        return self._stacked([before - self._side(self.by_set[parts], rival).logit.double() for parts in sets])

    def known(self, sets: Sequence[PartSet]) -> Tensor:  # (k, m) bool
        """Return which of these images there are."""
        return self._stacked([self.by_set[parts].render.known for parts in sets]).bool()  # type: ignore[union-attr]

    def _side(self, scores: Scores, rival: bool) -> Scores:
        found = scores.rival if rival else scores
        assert found is not None  # the runner sets it for all scores or for none
        return found

    def _stacked(self, rows: list[Tensor]) -> Tensor:
        return (
            torch.stack(rows)
            if rows
            else torch.zeros(0, *self.base.logit.shape, dtype=torch.float64, device=self.base.logit.device)
        )
