"""Localization metrics by hand and against literal twins; what binds them to one another is in test_localization_identities.py."""

import numpy as np
import pytest
from literal_localization import TWINS, border_share, pointing_game

from gradfaith import registry
from gradfaith.metrics.contract import Values
from gradfaith.metrics.maps.located import Located

MAP = np.array([[[0.0, 0.4, 0.5], [0.6, 1.0, 0.0], [0.2, 0.3, 0.0]]])
MASK = np.array([[[0, 0, 1], [0, 1, 1], [0, 0, 1]]], dtype=bool)
NAMES = registry.names("localization")
LITERATURE = {"locacc_literature", "tko_literature"}  # an empty mask is 0 there, as published
PAIRS = [(name, variant) for name in NAMES for variant in TWINS[name]]
every_pair = pytest.mark.parametrize(("name", "variant"), PAIRS)


def ask(name: str, maps: np.ndarray, masks: np.ndarray, variant: str = "", **options: object) -> Values:
    found = registry.load("localization", name).score(Located.from_maps(maps, masks), **options)
    return found[variant] if isinstance(found, dict) else found


def number(name: str, maps: np.ndarray, masks: np.ndarray, variant: str = "", **options: object) -> np.ndarray:
    return ask(name, maps, masks, variant, **options).value


def random_case(seed: int, count: int = 12, size: tuple[int, int] = (9, 11), levels: int | None = None):
    """Maps in [0, 1], of few levels or of many; masks from nearly empty to nearly full."""
    rng = np.random.default_rng(seed)
    maps = rng.random((count, *size)) if levels is None else rng.integers(0, levels, (count, *size)) / (levels - 1)
    return maps, rng.random((count, *size)) < rng.random((count, 1, 1))


# Nine pixels of mass 3, four of evidence. At 1/2 three are marked (1, .6, .5), by Otsu (which cuts at .3) and by area four
# (.4 too); two of them are evidence each time.
BY_HAND = {
    ("locacc", ""): 2 / 4, ("locacc_literature", ""): 2 / 4,
    ("recall", "fixed"): 2 / 4, ("recall", "otsu"): 2 / 4, ("recall", "area-matched"): 2 / 4,
    ("precision", "fixed"): 2 / 3, ("precision", "otsu"): 2 / 4, ("precision", "area-matched"): 2 / 4,
    ("f1", "fixed"): 4 / 7, ("f1", "otsu"): 1 / 2, ("f1", "area-matched"): 1 / 2,
    ("iou", "fixed"): 2 / 5, ("iou", "otsu"): 2 / 6, ("iou", "area-matched"): 2 / 6,
    ("topk_overlap", ""): 1 / 2, ("topk_gain", ""): (1 / 2 - 4 / 9) / (5 / 9),
    ("iou_area_matched", ""): 1 / 3, ("tko_literature", ""): 1 / 3,
    ("saliency_score", ""): 1.5 / 3, ("saliency_gain", ""): 0.5 / (4 / 9),
    ("shortcut_share", ""): 1.5 / 3, ("shortcut_share", "by-area"): 4 / 9, ("shortcut_lift", ""): 0.5 / (4 / 9),
    ("outside_body_share", ""): 1.5 / 3,
    ("border_share", ""): 2 / 3,  # all but the centre's 1 of 3
    ("pointing_game", ""): 1,
    ("cosine", ""): 1.5 / (np.sqrt(1.9) * 2),
    ("roc_auc", ""): (4 + 5 + 0.5 + 0.5) / 20,  # .5 beats four of five, 1 all, each 0 ties with the one outside
    ("average_precision", ""): (1 + 2 / 3 + 4 / 9 + 4 / 9) / 4,
}  # fmt: skip


@every_pair
def test_by_hand(name, variant):
    assert number(name, MAP, MASK, variant) == pytest.approx([BY_HAND[name, variant]])


@every_pair
@pytest.mark.parametrize("levels", [None, 2, 3, 10])
def test_a_literal_twin_says_the_same(name, variant, levels):
    """Many values or few (ties everywhere), empty and full masks."""
    maps, masks = random_case(levels or 0, size=(7, 8), levels=levels)
    masks[0], masks[1] = False, True
    found = ask(name, maps, masks, variant)
    undefined = np.zeros(len(maps), dtype=bool) if found.undefined is None else found.undefined
    for map_, mask, value, nothing in zip(maps, masks, found.value, undefined, strict=True):
        expected = TWINS[name][variant](map_, mask)
        assert nothing == (expected is None)
        assert nothing or value == pytest.approx(expected, abs=1e-12)
    assert found.reason or not undefined.any()


@pytest.mark.parametrize("levels", [None, 3])
def test_single_precision_maps_give_the_same_numbers(levels):
    maps, masks = random_case(3, levels=levels)
    maps = maps.astype(np.float32)
    for name, variant in PAIRS:
        double = number(name, maps.astype(np.float64), masks, variant)
        np.testing.assert_allclose(number(name, maps, masks, variant), double, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_mask_is_undefined_unless_the_literature_says_0(name):
    values = ask(name, MAP, np.zeros_like(MASK), next(iter(TWINS[name])))
    if name in LITERATURE:
        assert values.value == [0]
        assert values.undefined is None
    elif registry.load("localization", name).METRIC.region:
        assert values.undefined.tolist() == [True]
        assert values.reason


@pytest.mark.parametrize("name", NAMES)
def test_a_map_of_zeros_as_a_constant_one_arrives_has_no_share(name):
    values = ask(name, np.zeros_like(MAP), MASK, next(iter(TWINS[name])))
    assert np.isfinite(values.value).all()
    if name.startswith(("saliency", "shortcut", "cosine", "border", "outside")):
        assert values.undefined.tolist() == [True]
        assert "no mass" in values.reason


def test_a_full_mask_leaves_nothing_to_rank_against():
    full = np.ones_like(MASK)
    for name in ("roc_auc", "topk_gain"):
        assert ask(name, MAP, full).undefined.tolist() == [True]
    for name in ("topk_overlap", "iou_area_matched", "average_precision", "pointing_game", "tko_literature"):
        assert number(name, MAP, full) == pytest.approx([1])


def test_locacc_thresholds_and_its_soft_reading():
    """Of four evidence pixels two reach one half: the threshold itself counts."""
    assert number("locacc", MAP, MASK, threshold=0.5) == pytest.approx([0.5])
    assert number("locacc", MAP, MASK, threshold=0.6) == pytest.approx([0.25])
    assert number("locacc", MAP, MASK, soft=True) == pytest.approx([1.5 / 4])


def test_a_threshold_that_nothing_reaches_has_no_precision():
    assert ask("precision", MAP, MASK, "fixed", level=1.5).undefined.tolist() == [True]
    assert number("recall", MAP, MASK, "fixed", level=1.5) == [0]
    assert number("iou", MAP, MASK, "fixed", level=0.6) == pytest.approx([1 / 5])


def test_only_the_thresholds_asked_for_are_given():
    found = registry.load("localization", "iou").score(Located.from_maps(MAP, MASK), thresholds=("otsu",))
    assert list(found) == ["otsu"]


@pytest.mark.parametrize(("name", "variant"), [("topk_overlap", ""), ("pointing_game", "")])
@pytest.mark.parametrize("levels", [2, 3, 10])
def test_tie_credit_is_the_mean_over_random_orders(name, variant, levels):
    """Break the ties at random, many times: the K highest of all, and the one highest."""
    maps, masks = random_case(levels, count=4, size=(4, 5), levels=levels)
    rng = np.random.default_rng(0)
    for map_, mask in zip(maps, masks, strict=True):
        wanted = int(mask.sum()) if name == "topk_overlap" else 1
        if not mask.any():
            continue
        draws = [np.lexsort((rng.random(map_.size), -map_.ravel()))[:wanted] for _ in range(3000)]
        drawn = np.mean([mask.ravel()[order].mean() for order in draws])
        assert number(name, map_[None], mask[None], variant) == pytest.approx([drawn], abs=0.04)


def test_a_tie_at_the_last_place_counts_in_expectation():
    """One pixel is clear and a hit; four tie for the other two places, one of them evidence: 1 + 2 * 1 / 4 hits of 3."""
    map_ = np.array([[[1.0, 0.5, 0.5], [0.5, 0.5, 0.0]]])
    mask = np.array([[[1, 1, 0], [0, 0, 1]]], dtype=bool)
    assert number("topk_overlap", map_, mask) == pytest.approx([1.5 / 3])
    assert number("iou_area_matched", map_, mask) == pytest.approx([0.5 / 1.5])


def test_the_literature_takes_ties_by_memory_order_and_we_do_not():
    """A ReLU map that is zero but for one pixel: the same map, mirrored, gets another TKO."""
    map_, mask = np.zeros((1, 1, 12)), np.zeros((1, 1, 12), dtype=bool)
    map_[0, 0, 5], mask[0, 0, 8:] = 1, True
    mirrored = map_[..., ::-1], mask[..., ::-1]
    assert number("tko_literature", map_, mask) != number("tko_literature", *mirrored)
    assert number("topk_overlap", map_, mask) == pytest.approx(number("topk_overlap", *mirrored))
    assert number("topk_overlap", map_, mask) == pytest.approx([3 * 4 / 11 / 4])


def test_the_pointing_game_forgives_a_miss_within_the_tolerance():
    map_, mask = np.zeros((1, 9, 9)), np.zeros((1, 9, 9), dtype=bool)
    map_[0, 4, 4], mask[0, 7, 8] = 1, True  # 3 down, 4 across: 5 apart
    assert number("pointing_game", map_, mask, tolerance=4) == [0]
    assert number("pointing_game", map_, mask, tolerance=5) == [1]
    assert ask("pointing_game", map_, mask & False, tolerance=5).undefined.tolist() == [True]
    maps, masks = random_case(4, levels=4)
    found = number("pointing_game", maps, masks & (maps < 0.4), tolerance=2)
    for map_, mask, value in zip(maps, masks & (maps < 0.4), found, strict=True):
        assert value == pytest.approx(pointing_game(map_, mask, 2) or 0)


def test_a_point_is_ranked_by_the_share_of_the_image_below_it():
    point = np.zeros_like(MASK)
    point[0, 1, 0] = True  # 0.6, second of nine
    assert number("roc_auc", MAP, point) == pytest.approx([7 / 8])


@pytest.mark.parametrize("width", [0.05, 0.2, 0.5])
def test_the_border_is_a_share_of_the_side_at_least_one_pixel_wide(width):
    maps = np.random.default_rng(6).random((3, 12, 17))
    for map_, value in zip(maps, number("border_share", maps, maps > 2, width=width), strict=True):
        assert value == pytest.approx(border_share(map_, map_ > 2, width))
    flat = np.ones((1, 100, 100))
    expected = 1 - max(0.0, 1 - 2 * width) ** 2
    assert number("border_share", flat, flat > 2, width=width) == pytest.approx([expected])


def test_every_metric_has_a_twin_and_a_case_by_hand():
    assert set(TWINS) == set(NAMES)
    assert set(BY_HAND) == set(PAIRS)
