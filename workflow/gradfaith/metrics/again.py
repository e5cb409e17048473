"""What is explained again: every distinct change of some images once, and whose maps are wanted of each.

    own change      x * keep + fill * (1 - keep)     each map changes its own image, so for one map and one imputer
    shared change   x + shift, or another model      the same for every method, so once per image

Changed images are made when their batch's turn comes. Changes of one name must be the same masks, as in the engine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from gradfaith.metrics.block import Battery, Block, one_mask
from gradfaith.metrics.contract import Again, Chosen, Maps, Reruns, Trained
from gradfaith.metrics.explained import Explained

Answer = tuple[str, str, Any]  # change, imputer ("": nothing is filled), whose map


@dataclass(frozen=True)
class Share:
    """Images changed in one way, and whose maps of them are wanted."""

    change: str
    imputer: str
    whose: tuple[Any, ...]
    rows: Tensor  # (r,) in the block


@dataclass(frozen=True)
class Rows:
    """Some images, each with a class, and the maps that every method has of them."""

    images: Tensor  # (b, c, h, w)
    image_of: Tensor  # (b,) row of the image in the battery's
    target: Tensor  # (b,)
    maps: Mapping[Any, Explained]
    battery: Battery

    @cached_property
    def usable(self) -> Mapping[Any, Tensor]:  # each (u,) rows
        return {name: (~(maps.constant | maps.broken)).nonzero()[:, 0] for name, maps in self.maps.items()}

    def changed(self, share: Share) -> Tensor:  # (r, c, h, w)
        """The images of a share, as its change leaves them."""
        images = self.images[share.rows]
        unit = self.maps[share.whose[0]].unit[share.rows] if share.imputer else torch.zeros_like(images[:, 0])
        nothing = torch.zeros(len(images), 0, device=images.device)
        block = Block(unit, self.image_of[share.rows], self.target[share.rows], images, nothing, self.battery, {})
        asked = chain(*steps(self.battery.metrics, Maps(unit, block.draw)).values())
        same = [step for step in asked if step.name == share.change]
        if share.imputer:
            keep = one_mask(share.change, [step.keep() for step in same if step.keep])
            return block.changed(share.imputer, share.change, keep, slice(None))
        shift = same[0].shift
        return images if shift is None else images + shift(images.shape[1])

    def batch(self, shares: Sequence[Share], model: Trained) -> tuple[Reruns, dict[Any, list[tuple[Answer, int]]]]:
        """What an explainer is asked, and of every method the answers that it will give, with their lengths."""
        wanted: dict[Any, list[Tensor]] = {}
        answers: dict[Any, list[tuple[Answer, int]]] = {}
        start = 0
        for share in shares:
            for name in share.whose:
                own = torch.isin(share.rows, self.usable[name]).nonzero()[:, 0] + start
                if len(own):
                    wanted.setdefault(name, []).append(own)
                    answers.setdefault(name, []).append(((share.change, share.imputer, name), len(own)))
            start += len(share.rows)
        at = torch.cat([share.rows for share in shares])
        known, image_of = self.battery.image_ids, self.image_of[at].tolist()
        reruns = Reruns(
            images=torch.cat([self.changed(share) for share in shares]),
            target=self.target[at],
            image_ids=[known[row] if known else str(row) for row in image_of],
            changes=[share.change for share in shares for _ in share.rows],
            wanted={name: torch.cat(parts) for name, parts in wanted.items()},
            model=model,
        )
        return reruns, answers


def steps(metrics: Chosen, maps: Maps | None = None) -> dict[str, list[Again]]:
    """What every metric asks for, of some maps; of none, only to read the names."""
    maps = maps or Maps(torch.zeros(0, 1, 1), lambda _purpose: torch.zeros(0, 1, 1))
    return {label: list(module.changes(maps, **options)) for label, (module, options) in metrics.items()}


def shares(rows: Rows, model: Trained) -> list[Share]:
    """All that is to be explained again on one model, each change once."""
    asked = chain(*steps(rows.battery.metrics).values())
    distinct = {step.name: step for step in asked if step.model == model}
    anyone = torch.unique(torch.cat(list(rows.usable.values())))
    found = []
    for step in distinct.values():
        if step.of_image:
            found.append(Share(step.name, "", tuple(rows.maps), anyone))
        else:
            for name, own in rows.usable.items():
                found += [Share(step.name, imputer, (name,), own) for imputer in rows.battery.imputers]
    return found


def cut(whole: Sequence[Share], some: slice) -> Iterator[Share]:
    """Some of the rows of all shares, laid end to end."""
    start = 0
    for share in whole:
        first, last = max(some.start - start, 0), min(some.stop - start, len(share.rows))
        if first < last:
            yield replace(share, rows=share.rows[first:last])
        start += len(share.rows)
