"""Images where it is known what the model uses, their true map, and the controls: for metrics_planted.py and its test.

    seen = mean over the window of (pixel x pattern) / amplitude      1: the pattern is complete; 0: it is gone
    logits = (0, gain (seen - 1/2))

Every image has its own model, which uses one window of 8 x 8 pixels and nothing else. The window contains a chequered pattern
on noise. Seven decoys that the model never uses contain the same pattern, so a map that redraws the image marks all
eight. The mean of the pattern is zero: whatever fills the window (black, a mean, a blur, its neighbours) removes the class.
The organ contains all eight.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gradfaith import registry, rng
from gradfaith.attribution.cell import shuffle_maps
from gradfaith.attribution.contract import ControlInputs
from gradfaith.metrics.contract import FIRST_DECOY, MethodMaps
from gradfaith.vocabulary import Grid

SIDE, WINDOW, DECOYS, COUNT, COPIES = 32, 8, 7, 24, 5
AMPLITUDE, GAIN = 0.4, 8.0
GRID = (4, 4)  # of the controls on a layer's grid
TRUE = "true"
CLASS = 1
PATTERN = torch.tensor([[1.0, -1], [-1, 1]]).repeat_interleave(2, 0).repeat_interleave(2, 1).repeat(2, 2)  # (8, 8)
Place = tuple[slice, slice]


@dataclass(frozen=True)
class Planted:
    """One image with its window, decoys and organ."""

    name: str
    image: Tensor  # (1, 1, h, w) in [0, 1]
    window: Place
    decoys: Sequence[Place]  # the first is what the model would use with random weights
    organ: Tensor  # (h, w) bool

    @property
    def evidence(self) -> Tensor:  # (h, w) bool
        mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        mask[self.window] = True
        return mask

    @property
    def regions(self) -> Tensor:  # (1, h, w): the window is 1, decoys follow
        numbers = self.evidence.long()[None]
        for place, decoy in enumerate(self.decoys):
            numbers[(0, *decoy)] = FIRST_DECOY + place
        return numbers

    def seen(self, images: Tensor, window: Place) -> Tensor:  # (n, 1, h, w) -> (n, 8, 8)
        """Return how much of the pattern each pixel of a window shows: 1 where it is complete."""
        return (images[:, 0][(slice(None), *window)] - 0.5) * PATTERN.to(images) / AMPLITUDE

    def model(self, images: Tensor) -> Tensor:  # (n, 1, h, w) -> (n, 2)
        """Return logits that depend on the window and nothing else."""
        seen = self.seen(images, self.window).mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(seen), GAIN * (seen - 0.5)], dim=1)

    def stream(self, *purpose: object) -> Generator:
        return Generator().manual_seed(rng.seed("planted", *purpose, self.name))


def images() -> Iterator[Planted]:
    """Yield the images; they are always the same."""
    for number in range(COUNT):
        name = f"planted-{number}"
        draw = Generator().manual_seed(rng.seed("planted", "image", name))
        pixels = 0.3 + 0.2 * torch.rand(SIDE, SIDE, generator=draw)
        places = torch.randperm(SIDE * SIDE // WINDOW**2, generator=draw)[: DECOYS + 1].tolist()
        across = SIDE // WINDOW
        windows = [_place(place // across * WINDOW, place % across * WINDOW) for place in places]
        for window in windows:
            pixels[window] = 0.5 + AMPLITUDE * PATTERN
        organ = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        for window in windows:
            organ[window] = True
        organ |= (
            torch.rand(SIDE // WINDOW, SIDE // WINDOW, generator=draw)
            .lt(0.3)
            .repeat_interleave(WINDOW, 0)
            .repeat_interleave(WINDOW, 1)
        )
        yield Planted(name, pixels[None, None], windows[0], windows[1:], organ)


def _place(top: int, left: int) -> Place:
    return slice(top, top + WINDOW), slice(left, left + WINDOW)


def maps(planted: Planted, draw: int = 0) -> dict[str, tuple[Tensor, Grid]]:
    """Return the true map and every control, raw: (1, h, w) each, with its grid."""
    found: dict[str, tuple[Tensor, Grid]] = {TRUE: (planted.evidence.float()[None], "input")}
    for name in registry.names("controls"):
        module = registry.load("controls", name)
        scene = ControlInputs(planted.image, GRID, [planted.stream(name, draw)], planted.organ[None])
        found[name] = module.attribute(scene), module.METHOD.grid
    return found


def again(planted: Planted, changed: Tensor, trained: bool, name: str) -> Tensor:  # (n, 1, h, w) -> (n, h, w)
    """Return the maps of modified images: the true map of what the model uses there, or the same control as before."""
    count = len(changed)
    if name == TRUE:
        window = planted.window if trained else planted.decoys[0]
        found = torch.zeros(count, SIDE, SIDE)
        found[(slice(None), *window)] = planted.seen(changed, window).clamp(min=0)
        return found
    module = registry.load("controls", name)
    streams = [planted.stream(name, 0) for _ in range(count)]
    scene = ControlInputs(changed, GRID, streams, planted.organ.expand(count, SIDE, SIDE))
    maps: Tensor = module.attribute(scene)
    return maps


def copies(planted: Planted, name: str, raw: Tensor, grid: Grid) -> list[Tensor]:
    """Return shuffled copies of a map."""
    return [copied(planted, name, raw, grid, copy) for copy in range(COPIES)]


def copied(planted: Planted, name: str, raw: Tensor, grid: Grid, copy: int) -> Tensor:  # (n, h, w) -> (n, h, w)
    """Return one shuffled copy of a map, or of several maps with the same permutation."""
    return torch.cat([shuffle_maps(map_[None], [planted.stream("shuffle", name, copy)], grid) for map_ in raw])


def stored(raw: Tensor, grid: Grid) -> MethodMaps:
    """Return the map of one image in the form that the runner expects."""
    return MethodMaps(raw, grid, signed=False, image_of=torch.tensor([0]), target=torch.tensor([CLASS]))


Bend = Callable[[Tensor], Tensor]
BENDS: Mapping[str, Bend] = {"root": torch.sqrt, "square": torch.square, "fifth power": lambda u: u**5}


def dense(planted: Planted) -> Tensor:  # (1, h, w)
    """Return a map of distinct values whose order is partly right; double precision keeps it under transformations."""
    noise = torch.rand(1, SIDE, SIDE, generator=planted.stream("dense"), dtype=torch.float64)
    return 0.6 * noise + 0.4 * planted.evidence.double()[None] * noise.flip(2)
