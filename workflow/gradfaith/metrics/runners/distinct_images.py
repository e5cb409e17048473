"""Run each distinct modified image once: find equal modified images, and collect forwards until a batch is full.

Two modified images are equal if they have the same image and imputer, and keep the same share of every pixel, whatever
share, order, metric or method requested them. Methods often rank alike: before a global pooling, Grad-CAM, HiResCAM and
XGrad-CAM are one map up to rounding, and remove the same pixels. A seeded imputer fills each change of an image
differently, so its images are equal only within one change. If every pixel stays, the image is the unchanged image,
for any imputer.

Masks are compared by a fingerprint of 64 bits:

    sum over the pixels of   code(keep) * r        modulo 2^64;  r: a random odd number of the pixel;  code: keep's bits, mixed

Two different sets of pixels have the same fingerprint with a probability of 2^-63. For pixels in a map's order the
fingerprints of all shares are one running sum, so a mask whose image has been run is not even built. Cost: 0.3 ms per map
at 224 px, and less for each mask that is not from an order.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from gradfaith.metrics.contract import (
    NOTHING_REMOVED,
    BatteryMaps,
    ImageChange,
    MaskedChange,
    PartRemoval,
    RankedRemoval,
    RenderFacts,
)
from gradfaith.metrics.maps.removals import PixelOrder, rank_pixels
from gradfaith.metrics.maps.renders import outside_parts
from gradfaith.metrics.runners.masking_block import BatchedModel, MapBlock, MapClasses, Removed, require_one_mask

ONE = 0x3F80007F  # the code of 1 (kept completely); the code of 0 is 0


class Fingerprints:
    """Numbers that distinguish masks of one size."""

    def __init__(self, size: Sequence[int], device: torch.device) -> None:
        numbers = torch.randint(-(2**62), 2**62, (size[0] * size[1],), generator=Generator().manual_seed(0))
        self.numbers = (2 * numbers + 1).to(device)  # (h w,)
        self.everything = int((self.numbers * ONE).sum())

    def of_masks(self, keep: Tensor) -> Tensor:  # (m, h, w) -> (m,)
        """Return the fingerprint of each mask."""
        bits = keep.float().flatten(1).contiguous().view(torch.int32)
        return ((bits ^ (bits >> 23)).long() * self.numbers).sum(dim=1)

    def of_order(self, order: PixelOrder) -> Callable[[RankedRemoval], Tensor]:
        """Return a function that gives the fingerprints (m,) of the masks of a removal in this order."""
        sums = (self.numbers[order.pixels] * ONE).cumsum(dim=1)
        sums = torch.cat([sums.new_zeros(len(sums), 1), sums], dim=1)

        def of_removal(removal: RankedRemoval) -> Tensor:
            first, last = order.kept(removal)
            return sums[:, last] - sums[:, first]

        return of_removal


class DistinctForwards:
    """The modified images of a chunk. Each distinct one has one row of logits; a batch runs when it is full."""

    def __init__(self, model: BatchedModel) -> None:
        self.model = model
        self._rows: dict[Hashable, int] = {}
        self._waiting: list[Tensor] = []
        self._logits: list[Tensor] = []

    def ask(self, identities: Sequence[Hashable], images: Callable[[list[int]], Tensor]) -> list[int]:
        """Return the row of each image's logits; `images` builds the images of some identities, given their indices."""
        new = {identity: number for number, identity in reversed(list(enumerate(identities)))}
        numbers = sorted(number for identity, number in new.items() if identity not in self._rows)
        if numbers:
            for number in numbers:
                self._rows[identities[number]] = len(self._rows)
            self._waiting.append(images(numbers))
            self._run(least=self.model.chunk.rows)
        return [self._rows[identity] for identity in identities]

    def logits(self) -> Tensor:  # (rows, k)
        """Run the waiting images, and return all logits."""
        self._run(least=1)
        return torch.cat(self._logits)

    def _run(self, *, least: int) -> None:
        """Run the waiting images in full batches of at least `least`; the others keep waiting."""
        count = sum(len(images) for images in self._waiting)
        if count >= least:
            images = torch.cat(self._waiting)
            some = count // least * least
            self._logits.append(self.model(images[:some]))
            self._waiting = [images[some:]]


@dataclass(frozen=True)
class AskedChange:
    """A requested change of the maps of a block."""

    logits: list[int]  # (u,) rows of the logits
    removed: Removed | None
    render: RenderFacts | None = None


@dataclass(frozen=True)
class AskedBlock:
    """A block of maps whose modified images have all been requested: the maps themselves are no longer needed."""

    classes: MapClasses
    wanted: Mapping[str, Sequence[ImageChange]]  # by metric
    unchanged: AskedChange
    changed: Mapping[tuple[str, str], AskedChange]  # by imputer and change


@dataclass(frozen=True)
class ChangeMasks:
    """The masks of one change: their fingerprints, a function that builds some of them, and the amount that they remove."""

    fingerprints: Tensor  # (u,)
    build: Callable[[list[int]], Tensor]  # maps -> (r, h, w)
    removed: Removed | None


@dataclass(frozen=True)
class BlockRequest:
    """Requests all modified images of a block of maps."""

    forwards: DistinctForwards
    prints: Fingerprints
    block: MapBlock

    def ask(self) -> AskedBlock:
        images = self.block.image_of.tolist()
        wanted = self._wanted(self.block.maps)
        by_name, by_name_of_image = _by_name(wanted), _by_name(self._wanted(self.block.first_maps[0].maps))
        changed: dict[tuple[str, str], AskedChange] = {}
        for name, same in by_name.items():
            if isinstance(same[0], PartRemoval):
                changed |= {(imputer, name): self._ask_render(same[0]) for imputer in self.block.battery.imputers}
                continue
            masks = self._masks(name, same, by_name_of_image[name])
            fingerprints = masks.fingerprints.tolist()
            for imputer in self.block.battery.imputers:
                change = name if self.block.battery.is_seeded(imputer) else ""
                identities = [
                    (image,) if one == self.prints.everything else (image, imputer, change, one)
                    for image, one in zip(images, fingerprints, strict=True)
                ]

                def build(
                    maps: list[int], name: str = name, imputer: str = imputer, masks: ChangeMasks = masks
                ) -> Tensor:
                    return self.block.apply_change(imputer, name, masks.build(maps), maps)

                changed[imputer, name] = AskedChange(self.forwards.ask(identities, build), masks.removed)
        nothing = self.block.removed(torch.ones_like(self.block.unit))
        unchanged = self.forwards.ask([(image,) for image in images], self.block.images.__getitem__)
        return AskedBlock(self.block.classes, wanted, AskedChange(unchanged, nothing), changed)

    def _ask_render(self, removal: PartRemoval) -> AskedChange:
        """Request the dataset's images without some parts; an image that has none stays as it is."""
        renders, images = self.block.renders, self.block.image_of.tolist()
        assert renders is not None  # otherwise the maps would list no sets of parts
        column = renders.sets.index(removal.parts)
        numbers = renders.number[:, column].tolist()
        identities = [
            (image,) if number < 0 else (image, removal.name) for image, number in zip(images, numbers, strict=True)
        ]

        def build(maps: list[int]) -> Tensor:
            return renders.read([numbers[row] for row in maps]).to(self.block.images)

        first, place = self.block.first_maps
        assert first.regions is not None  # the runner gives regions with images without parts
        removed = self.block.removed(outside_parts(first.regions, removal.parts), place)
        facts = (renders.number[:, column] >= 0, renders.sufficient[:, column], renders.shared[:, column])
        render = RenderFacts(*(fact.to(self.block.unit.device) for fact in facts))
        return AskedChange(self.forwards.ask(identities, build), removed, render)

    def _wanted(self, maps: BatteryMaps) -> dict[str, list[ImageChange]]:
        metrics = self.block.battery.metrics
        return {label: list(module.changes(maps, **options)) for label, (module, options) in metrics.items()}

    def _masks(self, name: str, same: Sequence[ImageChange], of_image: Sequence[ImageChange]) -> ChangeMasks:
        """Return the masks of changes with one name; `of_image`: the same changes for the first map of each image."""
        pairs = dict(zip(same, of_image, strict=True))
        masks = [self._masks_of(change, per_image) for change, per_image in pairs.items()]
        require_one_mask(name, [one.fingerprints for one in masks])
        return masks[0]

    def _masks_of(self, change: ImageChange, of_image: ImageChange) -> ChangeMasks:
        assert isinstance(change, MaskedChange | RankedRemoval)
        if isinstance(change, RankedRemoval):
            order, fingerprints = self._order
            return ChangeMasks(fingerprints(change), lambda maps: order.keep_mask(change, maps), None)
        if change.per_image:
            assert isinstance(of_image, MaskedChange)
            keep, place = of_image.keep(), self.block.first_maps[1]
            fingerprints_of_image = self.prints.of_masks(keep)
            removed = self.block.removed(keep, place)
            return ChangeMasks(fingerprints_of_image[place], lambda maps: keep[place[maps]], removed)
        keep = change.keep()
        return ChangeMasks(self.prints.of_masks(keep), keep.__getitem__, self.block.removed(keep))

    @cached_property
    def _order(self) -> tuple[PixelOrder, Callable[[RankedRemoval], Tensor]]:
        first, place = self.block.first_maps
        order = rank_pixels(self.block.unit, first.draw("ties"), place)
        return order, self.prints.of_order(order)


def _by_name(wanted: Mapping[str, Sequence[ImageChange]]) -> dict[str, list[ImageChange]]:
    """Group the changes that metrics request by name; changes with one name must be identical."""
    by_name: dict[str, list[ImageChange]] = {}
    for changes in wanted.values():
        for change in changes:
            by_name.setdefault(change.name, []).append(change)
    by_name.pop(NOTHING_REMOVED, None)
    return by_name
