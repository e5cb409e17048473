"""Distinct changed images: what is the same image is run once, and what is run is never the same image twice."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gradfaith import rng
from gradfaith.metrics.contract import MethodMaps, RankedRemoval
from gradfaith.metrics.faithfulness import (
    deletion,
    faith,
    faithfulness_correlation,
    infidelity,
    insertion,
    region_correctness,
    road,
    road_pgc,
)
from gradfaith.metrics.imputers import black, mean, noisy_linear
from gradfaith.metrics.maps.removals import rank_pixels
from gradfaith.metrics.runners import masking_block
from gradfaith.metrics.runners.distinct_images import Fingerprints
from gradfaith.metrics.runners.masking import run_battery

SIZE, IMAGES = (12, 10), 3
CPU = torch.device("cpu")
CURVES = {"deletion": (deletion, {"steps": 10}), "insertion": (insertion, {"steps": 10}), "road": (road, {})}
IMPUTERS = {name: (module, {}) for name, module in (("black", black), ("mean", mean), ("noisy", noisy_linear))}


def uniform(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


class Recording:
    """A small network that keeps the images it is shown."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3))
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.seen.append(images.clone())
        return self.net(images)

    def distinct(self) -> tuple[int, int]:
        """How many images it was shown, and how many of them differ; those wiped to one grey belong to different images."""
        images = torch.cat(self.seen).flatten(1)
        wiped = (images == images[:, :1]).all(dim=1)
        return len(images), len(images[~wiped].unique(dim=0)) + int(wiped.sum())


def methods(**raw: Tensor) -> dict[str, MethodMaps]:
    rows = torch.arange(IMAGES)
    return {name: MethodMaps(maps, "input", False, rows, rows % 3) for name, maps in raw.items()}


def run(maps, metrics=CURVES, imputers=IMPUTERS, **given):
    model = Recording()
    how = {"mean": torch.tensor([0.4]), "image_ids": list("xyz"), "key": ("study", 1), "chunk": 8} | given
    return run_battery(model, uniform(IMAGES, 1, *SIZE, seed=9), maps, metrics, imputers, **how), model


RAW = uniform(IMAGES, *SIZE, seed=1)
SAME = {"map": RAW, "cubed": RAW**3, "copy": RAW.clone()}  # one order


@pytest.mark.parametrize("chunk", [1, 2, 8, 64])
def test_maps_that_rank_alike_share_every_image_of_every_curve(chunk):
    """Ten steps from either end: 9 + 9 images, one wiped; ROAD's are among them."""
    alone, _ = run(methods(map=RAW), chunk=chunk)
    both, model = run(methods(**SAME), chunk=chunk)
    assert both.passes_run == alone.passes_run == IMAGES * (1 + 3 * (9 + 9 + 1))
    assert both.passes_requested == IMAGES * (1 + 3 * 3 * (10 + 10 + 8))
    assert model.distinct() == (both.passes_run, both.passes_run)
    for pair, expected in alone.by_method["map"].items():
        for name in SAME:
            np.testing.assert_allclose(both.by_method[name][pair].value, expected.value, atol=1e-6)


def test_the_opposite_order_shares_its_images_where_the_imputer_draws_nothing():
    """Deletion of one is insertion of the other, to the pixel; with noise only the unchanged image is the same."""
    maps = methods(map=RAW, opposite=RAW.max() - RAW)
    for name, count in (("black", 9 + 9 + 1), ("mean", 9 + 9 + 1), ("noisy", 2 * (9 + 9) + 1)):
        found, model = run(maps, imputers={name: IMPUTERS[name]})
        assert model.distinct() == (found.passes_run, found.passes_run) == (IMAGES * (1 + count),) * 2
        first, second = (found.by_method[method] for method in maps)
        if name != "noisy":
            pair = first["deletion", name].value, second["insertion", name].value
            np.testing.assert_allclose(*pair, rtol=1e-6)  # summed from either end


def test_equal_sets_of_different_orders_are_one_image():
    """Two maps that put the same half of the pixels first, each in its own order."""
    half = (uniform(IMAGES, *SIZE, seed=3).flatten(1).argsort(dim=1).argsort(dim=1) < 60).reshape(RAW.shape)
    maps = methods(a=RAW + half, b=uniform(IMAGES, *SIZE, seed=4) + half)
    found, model = run(maps, {"deletion": (deletion, {"steps": 2})}, {"black": IMPUTERS["black"]})
    assert model.distinct()[0] == found.passes_run == IMAGES * (1 + 1 + 1)


def test_a_percentile_without_ties_is_a_rank():
    """grad-cam's ROAD keeps what lies below a percentile: at most a pixel less than ours, so often the same image."""
    found, model = run(methods(map=RAW), {"road": (road, {}), "pgc": (road_pgc, {})}, {"black": IMPUTERS["black"]})
    assert model.distinct() == (found.passes_run, found.passes_run)


def test_different_maps_share_only_what_is_the_image_s_own():
    maps = methods(map=RAW, other=uniform(IMAGES, *SIZE, seed=2))
    metrics = CURVES | {"sets": (faithfulness_correlation, {"subsets": 5}), "faith": (faith, {})}
    found, model = run(maps, metrics)
    assert found.passes_run == IMAGES * (1 + 3 * (1 + 5 + 2 * (9 + 9 + 1)))
    assert model.distinct() == (found.passes_run, found.passes_run)


def test_a_region_that_an_image_lacks_is_the_unchanged_image():
    regions = torch.zeros(IMAGES, *SIZE, dtype=torch.uint8)
    regions[:, :4], regions[1:, 6:8], regions[2, 9:] = 1, 2, 3
    found, model = run(methods(**SAME), {"r": (region_correctness, {})}, regions=regions)
    assert model.distinct() == (found.passes_run, found.passes_run) == (3 + 3 * (1 + 2 + 3),) * 2


def test_random_numbers_are_drawn_once_per_image_for_all_maps(monkeypatch):
    drawn: list[tuple[object, ...]] = []

    def watched(*key: object) -> int:
        drawn.append(key)
        return rng.seed(*key)

    monkeypatch.setattr(masking_block, "rng", SimpleNamespace(seed=watched))
    metrics = CURVES | {"fc": (faithfulness_correlation, {"subsets": 4}), "inf": (infidelity, {"subsets": 4})}
    run(methods(**SAME, other=uniform(IMAGES, *SIZE, seed=2)), metrics, chunk=4)
    assert len(drawn) == len(set(drawn)) == IMAGES * (4 + 1)


@pytest.mark.parametrize("chunk", [3, 5, 8])
def test_batches_are_full_until_the_last_of_a_chunk(chunk):
    """Whatever the changes, shared images and methods leave over."""
    _, model = run(methods(map=RAW, other=uniform(IMAGES, *SIZE, seed=2)), chunk=chunk)
    sizes = [len(images) for images in model.seen]
    assert sizes.count(chunk) >= len(sizes) - IMAGES


def test_fingerprints_of_an_order_are_those_of_its_masks():
    prints, order = Fingerprints(SIZE, CPU), rank_pixels(RAW, uniform(IMAGES, *SIZE, seed=5))
    of_removal, seen = prints.of_order(order), set()
    for end in ("most", "least"):
        for step in range(11):
            removal = RankedRemoval(end, step / 10)
            found = of_removal(removal)
            assert torch.equal(found, prints.of_masks(order.keep_mask(removal)))
            seen |= set(found.tolist())
    assert of_removal(RankedRemoval("most", 0.0)).tolist() == [prints.everything] * IMAGES
    assert of_removal(RankedRemoval("least", 1.0)).tolist() == [0] * IMAGES
    assert len(seen) == 2 + IMAGES * 2 * 9


def test_fingerprints_tell_the_smallest_difference_of_soft_masks():
    keep = uniform(1, *SIZE).repeat(3, 1, 1)
    keep[1, 5, 5] = torch.nextafter(keep[1, 5, 5], torch.tensor(1.0))
    keep[2, 0, :2] = keep[2, 0, :2].flip(0)
    assert len(set(Fingerprints(SIZE, CPU).of_masks(keep).tolist())) == 3


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_ties_of_an_image_may_be_given_once_for_its_maps(kind):
    unit = uniform(4, *SIZE).mul(5).round().div(5).to(kind)
    ties, image = uniform(2, *SIZE, seed=6), torch.tensor([0, 1, 1, 0])
    once, each = rank_pixels(unit, ties, image), rank_pixels(unit, ties[image])
    literal = [
        sorted(
            range(unit[0].numel()),
            key=lambda p, m=m: (-float(unit[m].flatten()[p]), float(ties[image[m]].flatten()[p])),
        )
        for m in range(4)
    ]
    assert once.pixels.tolist() == each.pixels.tolist() == literal


def test_minus_nought_is_nought():
    unit, ties = torch.tensor([[[0.0, -0.0, 0.5, -0.0]]]), torch.tensor([[[0.4, 0.3, 0.1, 0.2]]])
    assert rank_pixels(unit, ties).pixels.tolist() == [[2, 3, 1, 0]]


def test_the_logits_of_a_shared_image_are_those_of_each_map_alone():
    shared, _ = run(methods(**SAME, other=uniform(IMAGES, *SIZE, seed=2)))
    for name, raw in (*SAME.items(), ("other", uniform(IMAGES, *SIZE, seed=2))):
        alone, _ = run(methods(**{name: raw}))
        for point, values in alone.curves[name].items():
            assert_close(torch.tensor(shared.curves[name][point]), torch.tensor(values), rtol=0, atol=1e-6)
