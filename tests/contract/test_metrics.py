"""What every metric declares, tested from the declaration, for every file that exists."""

from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradfaith import registry
from gradfaith.metrics.contract import (
    FIRST_DECOY,
    NOTHING_REMOVED,
    BatteryMaps,
    MethodMaps,
    MethodRerun,
    Metric,
    PartRemoval,
    RankedRemoval,
)
from gradfaith.metrics.imputers import black
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.maps.located import Located
from gradfaith.metrics.maps.renders import RenderTable
from gradfaith.metrics.runners import rerun
from gradfaith.metrics.runners.masking import run_battery
from gradfaith.vocabulary import FIRST_SURROUNDING, RERUN_BATTERY

FAMILIES = ("localization", "faithfulness", "agreement", "composite")
EVERY = [(family, name) for family in FAMILIES for name in registry.names(family)]
CONTROLS = {*registry.names("controls"), "shuffled"}
SIZE, COUNT = (12, 15), 6
MIRRORED = (..., slice(None, None, -1))
seeds = st.integers(0, 2**32 - 1)
REGIONS = np.zeros((COUNT, *SIZE), dtype=np.uint8)  # one on either side, and two decoys on either side
for place, number in enumerate((1, FIRST_DECOY, FIRST_DECOY + 1, FIRST_DECOY + 2, FIRST_DECOY + 3, FIRST_DECOY + 4)):
    REGIONS[:, 1 + 3 * (place // 2) : 3 + 3 * (place // 2), 1 + 8 * (place % 2) : 5 + 8 * (place % 2)] = number
PARTS = np.zeros((COUNT, *SIZE), dtype=np.uint8)  # a part on either side, and a thing in the middle
PARTS[:, 3:8, 0:4], PARTS[:, 3:8, 10:14], PARTS[:, 0:2, 7:8] = 1, 2, FIRST_SURROUNDING
every_metric = pytest.mark.parametrize(("family", "name"), EVERY)


def declaring(invariance: str) -> pytest.MarkDecorator:
    """The metrics that declare it."""
    those = [(family, name) for family, name in EVERY if invariance in registry.load(family, name).METRIC.invariances]
    return pytest.mark.parametrize(("family", "name"), those)


def cases(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two stacks of raw maps and a stack of masks, none of them empty."""
    rng = np.random.default_rng(seed)
    masks = rng.random((COUNT, *SIZE)) < rng.uniform(0.02, 0.5, (COUNT, 1, 1))
    masks[:, rng.integers(SIZE[0]), rng.integers(SIZE[1])] = True
    return rng.random((COUNT, 4, 5)), rng.random((COUNT, 4, 5)), masks


def model(images: Tensor) -> Tensor:
    """The sum of the left half for one class, of the right half for the other."""
    half = images.shape[3] // 2
    return torch.stack([images[..., :half].mean(dim=(1, 2, 3)), images[..., -half:].mean(dim=(1, 2, 3))], dim=1) * 9


def unit(raw: np.ndarray) -> np.ndarray:
    return evaluate(raw, grid="native", signed=False, size=SIZE).unit


def localized(name: str, maps: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """A localization metric's numbers by variant, the primary one first."""
    found = registry.load("localization", name).score(Located.from_maps(maps, masks))
    return {key: part.value for key, part in (found if isinstance(found, dict) else {"": found}).items()}


def values(family: str, name: str, first: np.ndarray, second: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """What the metric says of raw maps, or of maps already at the images' size."""
    module = registry.load(family, name)
    here, there = (maps if maps.shape[1:] == SIZE else unit(maps) for maps in (first, second))
    if family == "localization":
        return np.concatenate(list(localized(name, here, masks).values()))
    if family == "agreement":
        return np.asarray(module.score(module.ready(here), module.ready(there)).value)
    if family == "composite":
        return np.asarray(module.score(shares(module.METRIC, here, there)).value)
    images = torch.rand(COUNT, 1, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.arange(COUNT)
    if module.METRIC.battery == RERUN_BATTERY:
        return explained_again(module, images, torch.from_numpy(first))
    rival, against = torch.from_numpy(there), 1 - rows % 2
    stored = MethodMaps(torch.from_numpy(here), "input", False, rows, rows % 2, rival, against)
    if module.METRIC.battery == "rendered":
        return without_parts(module, images, stored)
    asked = {"m": stored}, {"x": (module, {})}, {"black": (black, {})}
    return run_battery(model, images, *asked, regions=torch.from_numpy(REGIONS)).by_method["m"]["x", "black"].value


def without_parts(module, images: Tensor, stored: MethodMaps) -> np.ndarray:
    """Of images that are black where a part was; the half of the explained class is the brighter one."""
    numbers, sets = torch.from_numpy(PARTS), [(1,), (2,), (1, 2), (FIRST_SURROUNDING,)]
    half, left = SIZE[1] // 2, torch.as_tensor(stored.target) == 0  # part 1 lies in the half of class 0
    bright = images.clone()
    bright[left, ..., :half] += 1
    bright[~left, ..., -half:] += 1
    drawn = torch.stack([bright * ~torch.isin(numbers, torch.tensor(parts))[:, None] for parts in sets], dim=1)
    own, other = torch.where(left, 1, 2), torch.where(left, 2, 1)
    facts = (
        torch.arange(4 * COUNT).reshape(COUNT, 4),
        torch.tensor([[True, True, False, True]]).expand(COUNT, 4),
        torch.stack([own, other, 0 * own, 0 * own], dim=1),
    )
    tables = SimpleRows(
        lambda rows: RenderTable(sets, *(fact[rows] for fact in facts), lambda asked: drawn.flatten(0, 1)[asked])
    )
    found = run_battery(model, bright, {"m": stored}, {"x": (module, {})}, {}, regions=numbers, renders=tables)
    return found.by_method["m"]["x", ""].value


class SimpleRows:
    """Rows that a function makes."""

    def __init__(self, rows: Callable[[slice], RenderTable]) -> None:
        self.rows = rows

    def __getitem__(self, rows: slice) -> RenderTable:
        return self.rows(rows)


def explained_again(module, images: Tensor, weights: Tensor) -> np.ndarray:
    """Of a method that weighs the picture's cells: as large as its weights are, whatever the map's scale."""

    def ask(asked):
        cells = torch.nn.functional.adaptive_avg_pool2d(asked.images, weights.shape[1:])[:, 0]
        bent = cells if asked.model == "trained" else cells.flip(2)
        place = [int(image) for image in asked.image_ids]
        return {name: (bent * weights[place])[rows] for name, rows in asked.wanted.items()}

    rows = torch.arange(COUNT)
    plain = SimpleNamespace(images=images, image_ids=list(map(str, range(COUNT))), wanted={"m": rows}, model="trained")
    stored = MethodMaps(ask(plain)["m"], "native", False, rows, rows % 2)
    found = rerun.run_battery(ask, images, {"m": stored}, {"x": (module, {})}, {"black": (black, {})}).by_method["m"]
    return next(iter(found.values())).value


def shares(metric: Metric, here: np.ndarray, there: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers within the bounds of a composite's parts."""
    drawn = [here.mean(axis=(1, 2)), there.mean(axis=(1, 2)), here.max(axis=(1, 2)) * there.min(axis=(1, 2))]
    found = {}
    for (name, _), share in zip(metric.parts.items(), drawn, strict=True):
        low, high = registry.load("faithfulness", name).METRIC.bounds
        found[name] = low + (high - low) * share
    return found


@every_metric
def test_the_declaration_is_complete(family, name):
    metric = registry.load(family, name).METRIC
    assert isinstance(metric, Metric)
    assert metric.family == family
    assert set(metric.invariances) <= {"scale", "monotone", "flip"}
    assert set(metric.fooled_by) | set(metric.controls) <= CONTROLS
    assert not metric.variants or metric.variants in registry.entry(family, name).options
    assert bool(metric.battery) == (metric.forwards > 0) == (family == "faithfulness")
    assert registry.entry(family, name).declared["better"] == metric.better, "the declaration must be literal"
    assert registry.entry(family, name).declared.get("parts", {}) == metric.parts
    assert bool(metric.parts) == (family == "composite")
    assert set(metric.parts) <= set(registry.names("faithfulness"))
    assert set(metric.parts.values()) <= {"", *registry.names("imputers")}
    assert registry.entry(family, name).summary


@every_metric
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_values_are_finite_and_within_the_bounds(family, name, seed):
    low, high = registry.load(family, name).METRIC.bounds
    found = values(family, name, *cases(seed))
    assert np.isfinite(found).all()
    assert low is None or (found >= low - 1e-9).all()
    assert high is None or (found <= high + 1e-9).all()


@declaring("scale")
@settings(max_examples=15, deadline=None)
@given(seed=seeds, factor=st.sampled_from([1e-6, 0.125, 3.7, 1e4]))
def test_declared_invariance_to_scale_holds(family, name, seed, factor):
    first, second, masks = cases(seed)
    scaled = values(family, name, first * factor, second, masks)
    np.testing.assert_allclose(scaled, values(family, name, first, second, masks), atol=1e-9)


@declaring("monotone")
@settings(max_examples=15, deadline=None)
@given(seed=seeds, power=st.sampled_from([0.5, 2.0, 5.0]))
def test_declared_invariance_to_increasing_changes_holds(family, name, seed, power):
    first, second, masks = cases(seed)
    here, there = unit(first), unit(second)
    np.testing.assert_allclose(
        values(family, name, here**power, there, masks), values(family, name, here, there, masks)
    )


@declaring("flip")
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_declared_invariance_to_mirroring_holds(family, name, seed):
    first, second, masks = cases(seed)
    mirrored = values(family, name, first[MIRRORED], second[MIRRORED], masks[MIRRORED])
    np.testing.assert_allclose(mirrored, values(family, name, first, second, masks), atol=1e-9)


@pytest.mark.parametrize("name", registry.names("agreement"))
def test_rows_know_nothing_of_each_other(name):
    given_ = cases(1)
    together = values("agreement", name, *given_)
    module = registry.load("agreement", name)
    first, second = unit(given_[0]), unit(given_[1])
    for row in range(COUNT):
        one, other = (module.ready(maps[row : row + 1]) for maps in (first, second))
        assert module.score(one, other).value[0] == together[row]


@pytest.mark.parametrize("name", registry.names("agreement"))
def test_agreement_does_not_ask_who_comes_first_and_is_perfect_with_itself(name):
    first, second, masks = cases(2)
    there, back = values("agreement", name, first, second, masks), values("agreement", name, second, first, masks)
    np.testing.assert_array_equal(there, back)
    np.testing.assert_allclose(values("agreement", name, first, first, masks), 1, atol=1e-12)


@pytest.mark.parametrize("name", registry.names("localization"))
def test_maps_know_nothing_of_each_other(name):
    raw, _, masks = cases(1)
    together = localized(name, unit(raw), masks)
    for row in range(COUNT):
        alone = localized(name, unit(raw)[row : row + 1], masks[row : row + 1])
        assert {variant: own[0] for variant, own in alone.items()} == {key: own[row] for key, own in together.items()}


@pytest.mark.parametrize("name", registry.names("faithfulness"))
def test_a_faithfulness_metric_asks_for_as_many_forwards_as_it_declares(name):
    module, unit = registry.load("faithfulness", name), torch.rand(COUNT, *SIZE)
    sets = [chosen for count in range(1, 6) for chosen in combinations(range(1, 6), count)]
    sets += [(FIRST_SURROUNDING + thing,) for thing in range(3)]
    maps = BatteryMaps(unit, lambda purpose: torch.rand(COUNT, *SIZE), torch.from_numpy(REGIONS), sets)
    changes = list(module.changes(maps))
    names = {change.name for change in changes} - {NOTHING_REMOVED}
    assert len(names) == module.METRIC.forwards
    assert (module.METRIC.battery == RERUN_BATTERY) == all(isinstance(change, MethodRerun) for change in changes)
    assert (module.METRIC.battery == "rendered") == all(isinstance(change, PartRemoval) for change in changes)
    assert module.METRIC.imputed == any(
        not isinstance(change, MethodRerun | PartRemoval) or not change.per_image for change in changes
    )
    for change in changes:
        if isinstance(change, PartRemoval):
            assert PartRemoval.parts_of(change.name) == change.parts
            continue
        if isinstance(change, RankedRemoval):
            assert 0 <= change.share <= 1
            continue
        if isinstance(change, MethodRerun) and change.per_image:
            assert change.shift is None or change.shift(2).shape == (COUNT, 2, *SIZE)
            continue
        keep = change.keep()
        assert keep.shape == (COUNT, *SIZE)
        assert keep.min() >= 0
        assert keep.max() <= 1


def of_localization(**declared: object) -> pytest.MarkDecorator:
    """The localization metrics that declare all of this."""
    known = {name: registry.load("localization", name).METRIC for name in registry.names("localization")}
    those = [name for name, one in known.items() if all(getattr(one, key) == want for key, want in declared.items())]
    return pytest.mark.parametrize("name", those)


def small_evidence(count: int) -> np.ndarray:
    masks = np.zeros((count, *SIZE), dtype=bool)
    masks[:, 3:6, 3:6] = True
    return masks


@of_localization(bounds=(0, 1), better="higher")
def test_a_broad_map_wins_exactly_where_it_is_declared_to(name):
    """The uniform control (all ones but one pixel) on small evidence: perfect where declared, far from it elsewhere."""
    broad = np.ones((1, *SIZE))
    broad[0, 0, 0] = 0
    primary = next(iter(localized(name, broad, small_evidence(1)).values()))
    fooled = "uniform" in registry.load("localization", name).METRIC.fooled_by
    assert primary > 0.99 if fooled else primary < 0.6


@pytest.mark.parametrize(
    "name", [n for n in registry.names("localization") if registry.load("localization", n).METRIC.chance]
)
def test_random_maps_get_the_declared_chance(name):
    """The mean over many maps of independent pixels, within four of its standard errors."""
    masks = small_evidence(3000)
    levels = {"0": 0.0, "1": 1.0, "1/2": 0.5, "area": masks[0].mean()}
    for own in localized(name, np.random.default_rng(2).random(masks.shape), masks).values():
        error = 4 * own.std() / np.sqrt(len(own)) + 1e-12
        assert own.mean() == pytest.approx(levels[registry.load("localization", name).METRIC.chance], abs=error)
