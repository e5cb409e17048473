"""The methods of a bundle, asked again: what metrics/runners/rerun.py calls when it wants maps of changed images or of another model.

A batch of changed images goes through the network once for all methods that want something of it, with one backward per kind of
score; a method that asks for more is asked about its own images only. Shuffled copies are the method's new map, permuted
as their stored one was. Controls repeat their draws, whatever the image; a method with chance of its own draws anew for
a changed image, as whoever runs it twice would, and repeats its draws for another model, so that only the model differs.

What a method refuses to explain is asked image by image; its map is then not finite, and the log says why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from gradfaith import rng
from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import Given, Use, uses_of
from gradfaith.attribution.cell import Cell
from gradfaith.attribution.contract import Noted
from gradfaith.attribution.support.shuffle import shuffled
from gradfaith.errors import Refusal
from gradfaith.metrics.contract import Chosen, Reruns, Trained
from gradfaith.metrics.maps.randomisation import NAME
from gradfaith.metrics.runners.rerun import steps
from gradfaith.models.classifier import Classifier
from gradfaith.models.randomise import cascade
from gradfaith.models.speed import prepared
from gradfaith.runtime.batching import Chunk, Most
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.vocabulary import SHUFFLED, Score

Whose = tuple[str, int]  # the label of stored maps, and which copy


@dataclass(frozen=True)
class Explainer:
    """The methods of a bundle, on the trained network and, where a metric asks for it, on one that has forgotten everything."""

    cells: Mapping[Trained, Cell]
    passes: Chunk  # rows of a method's own passes

    def __call__(self, asked: Reruns) -> dict[Whose, Tensor]:
        """Raw maps of every method that is wanted, of the rows it is wanted for."""
        if asked.model not in self.cells:
            return _nothing(self.cells["trained"], asked)
        cell, found = self.cells[asked.model], dict[Whose, Tensor]()
        uses = [use for use in cell.uses if _stored(use, asked)]
        layers = list(dict.fromkeys(layer for use in uses for layer in use.layers))
        curved = any("curvature" in use.wants for use in uses)
        every = torch.arange(len(asked.images), device=asked.images.device)
        with shared_passes.meeting(cell.classifier, asked.images, layers, chunk=self.passes, curved=curved) as meeting:
            supplies: dict[Score, shared_passes.Supply] = {}
            for use in uses:
                if use.score not in supplies:
                    supplies[use.score] = meeting.asked(asked.target, every, use.score)
                found.update(_maps(cell, use, supplies[use.score], asked))
        return found


def explainer(
    model: Classifier, images: Images, maps: Maps, metrics: Chosen, asked: Mapping[str, Any],
    model_is: Mapping[str, Any], *, most: Most,
) -> Explainer:  # fmt: skip
    """Of the methods that made these maps, with the passes that made them; the model is changed for them."""
    key = (asked["seed"], model_is["arch"], model_is["seed"])
    networks: dict[Trained, Classifier] = {"trained": model}
    if any(step.model == "randomised" for step in chain(*steps(metrics).values())):
        ((_, _, networks["randomised"]),) = cascade(model, ["top_down"], 1, seed=rng.seed(*key, NAME))
    organ = (lambda ids: images.mask(asked["organ"], ids)[0]) if asked["organ"] else None
    uses = uses_of(model, asked["methods"])
    cells: dict[Trained, Cell] = {}
    for name, network in networks.items():
        try:
            ready = prepared(network, asked["passes"])
        except Refusal as error:
            if name == "trained":
                raise
            print(f"no map of the {name} network: {error.found}", flush=True)  # noqa: T201 - the job's log
            continue
        cells[name] = Cell(ready, images.pixels, maps.rows, uses, key, copies=1, most=most, organ=organ, probed=False)
    return Explainer(cells, Chunk(most, model.mean.device))


def _nothing(cell: Cell, asked: Reruns) -> dict[Whose, Tensor]:
    """Of a network that cannot be asked: no map that is finite."""
    found = {}
    for use in cell.uses:
        for whose in _stored(use, asked):
            size = cell.grids[use.layer] if use.declared.grid == "native" else asked.images.shape[-2:]
            found[whose] = torch.full((len(asked.wanted[whose]), *size), torch.nan, device=asked.images.device)
    return found


def _stored(use: Use, asked: Reruns) -> list[Whose]:
    """The stored maps of a method, and its shuffled copies, that are wanted."""
    return [whose for whose in asked.wanted if whose[0] in {use.label, SHUFFLED + use.label}]


def _maps(cell: Cell, use: Use, supply: shared_passes.Supply, asked: Reruns) -> Iterator[tuple[Whose, Tensor]]:
    """One method run once for its own map and its shuffled copies."""
    whose = _stored(use, asked)
    rows = torch.unique(torch.cat([asked.wanted[own] for own in whose]))
    maps = _asked(cell, use, supply, asked, rows)
    for label, copy in whose:
        wanted = asked.wanted[label, copy]
        own = maps[torch.searchsorted(rows, wanted)]
        if label != use.label:
            ids = [asked.image_ids[row] for row in wanted.tolist()]
            own = shuffled(own, cell.streams(ids, "shuffle", use.label, copy), use.declared.grid)
        yield (label, copy), own


def _asked(cell: Cell, use: Use, supply: shared_passes.Supply, asked: Reruns, rows: Tensor) -> Tensor:  # (r, h0, w0)
    """The method's maps of some rows; of a row that it refuses, nothing that is finite."""
    ids, changes = ([column[row] for row in rows.tolist()] for column in (asked.image_ids, asked.changes))
    organ = None if cell.organ is None else torch.from_numpy(cell.organ(ids)).to(rows.device)
    given = Given(supply.some(rows), _streams(cell, use, asked.model, ids, changes), cell.grids[use.layer], organ)
    try:
        answer = use.attribute(given)
        return (answer.maps if isinstance(answer, Noted) else answer).float()
    except (Refusal, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        if len(rows) > 1:
            return torch.cat([_asked(cell, use, supply, asked, row[None]) for row in rows])
        reason = error.found if isinstance(error, Refusal) else str(error)
        print(f"{use.label}, {changes[0]}, {ids[0]}: {reason}", flush=True)  # noqa: T201 - the job's log
        size = cell.grids[use.layer] if use.declared.grid == "native" else asked.images.shape[-2:]
        return torch.full((1, *size), torch.nan, device=rows.device)


def _streams(cell: Cell, use: Use, model: Trained, ids: Sequence[str], changes: Sequence[str]) -> list[torch.Generator]:
    """Where its chance comes from: its own as before, or a new draw for a changed image."""
    if use.control or model == "randomised":
        return cell.streams(ids, "control" if use.control else "method", use.label)
    return [
        stream
        for image, change in zip(ids, changes, strict=True)
        for stream in cell.streams([image], "again", change, use.label)
    ]
