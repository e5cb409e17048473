"""Whatever file lies among the methods or the controls keeps the contract it declares."""

from types import ModuleType

import pytest
import torch
from torch import Generator, Tensor

from gradfaith import registry
from gradfaith.methods.contract import Method, Scene, Tap

FILES = [(room, name) for room in ("methods", "controls") for name in registry.names(room)]
COUNT, CHANNELS, GRID, SIZE = 4, 8, (5, 7), (40, 56)
every_file = pytest.mark.parametrize(("room", "name"), FILES, ids=[name for _, name in FILES])


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed))


def given(module: ModuleType, rows: slice) -> Tap | Scene:
    """What the method needs, for some of the same four images."""
    if module.METHOD.needs == "layer":
        activation, gradient = noise(COUNT, CHANNELS, *GRID, seed=1), noise(COUNT, CHANNELS, *GRID, seed=2)
        return Tap(activation[rows], gradient[rows], noise(COUNT, seed=3)[rows])
    images = noise(COUNT, 3, *SIZE, seed=4).sigmoid()
    return Scene(images[rows], GRID, [Generator().manual_seed(number) for number in range(COUNT)][rows])


def test_there_are_the_controls_every_study_needs() -> None:
    assert {"random", "random-grid", "centre", "edges", "uniform", "half"} <= set(registry.names("controls"))


@every_file
def test_it_declares_itself(room: str, name: str) -> None:
    module = registry.load(room, name)
    assert isinstance(module.METHOD, Method)
    assert (module.__doc__ or "").strip().count("\n") >= 3, "what it computes, the formula, the cost"
    assert room != "controls" or module.METHOD.needs == "nothing", "a control knows nothing of the model"


@every_file
def test_it_has_the_grid_and_sign_it_declares_and_is_finite(room: str, name: str) -> None:
    module = registry.load(room, name)
    maps = module.attribute(given(module, slice(None)))
    assert maps.shape == (COUNT, *(GRID if module.METHOD.grid == "native" else SIZE))
    assert maps.dtype == torch.float32
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert (maps < 0).any() == module.METHOD.signed
    assert (maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))).all(), "not constant"


@every_file
def test_it_gives_the_same_again_and_changes_nothing_it_was_given(room: str, name: str) -> None:
    module = registry.load(room, name)
    first, second = given(module, slice(None)), given(module, slice(None))
    assert torch.equal(module.attribute(first), module.attribute(second))
    untouched = given(module, slice(None))
    kept = ("activation", "gradient", "score") if isinstance(first, Tap) else ("images",)
    assert all(torch.equal(getattr(first, part), getattr(untouched, part)) for part in kept)


@every_file
def test_one_batch_equals_many(room: str, name: str) -> None:
    module = registry.load(room, name)
    together = module.attribute(given(module, slice(None)))
    alone = torch.cat([module.attribute(given(module, slice(row, row + 1))) for row in range(COUNT)])
    assert (together - alone).abs().max() <= 1e-6 * together.abs().max()


@every_file
def test_it_draws_random_numbers_exactly_if_it_says_so(room: str, name: str) -> None:
    module = registry.load(room, name)
    scene = given(module, slice(None))
    if isinstance(scene, Tap):
        assert not module.METHOD.seeded, "a tap brings no generators"
        return
    module.attribute(scene)
    drawn = [generator.get_state() for generator in scene.generators]
    fresh = [Generator().manual_seed(number).get_state() for number in range(COUNT)]
    assert all(torch.equal(one, two) for one, two in zip(drawn, fresh, strict=True)) != module.METHOD.seeded
