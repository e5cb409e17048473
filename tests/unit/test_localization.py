"""Localization metrics by hand, against literal twins, and through the runner."""

import numpy as np
import pytest

from gradfaith.errors import MaskSizeMismatch
from gradfaith.metrics.evaluated import evaluate
from gradfaith.metrics.localization import iou_area_matched, locacc, saliency_score, shortcut_lift
from gradfaith.metrics.localize import localize

MAP = np.array([[[0.0, 0.4, 0.5], [0.6, 1.0, 0.0], [0.2, 0.3, 0.0]]])
MASK = np.array([[[0, 0, 1], [0, 1, 1], [0, 0, 1]]], dtype=bool)
METRICS = {
    "locacc": (locacc, {}),
    "soft": (locacc, {"soft": True}),
    "saliency": (saliency_score, {}),
    "iou": (iou_area_matched, {}),
    "lift": (shortcut_lift, {}),
}


def random_case(seed, count=12, size=(9, 11), levels=None):
    rng = np.random.default_rng(seed)
    maps = (
        rng.random((count, *size)) if levels is None else rng.integers(0, levels, (count, *size)) / max(levels - 1, 1)
    )
    return maps, rng.random((count, *size)) < rng.random((count, 1, 1))


def test_locacc_by_hand():
    """Of four evidence pixels two reach one half: the threshold itself counts."""
    assert locacc.score(MAP, MASK).value == pytest.approx([0.5])
    assert locacc.score(MAP, MASK, threshold=0.6).value == pytest.approx([0.25])
    assert locacc.score(MAP, MASK, soft=True).value == pytest.approx([1.5 / 4])


def test_saliency_score_by_hand():
    assert saliency_score.score(MAP, MASK).value == pytest.approx([1.5 / 3.0])


def test_shortcut_lift_by_hand_and_its_extremes():
    assert shortcut_lift.score(MAP, MASK).value == pytest.approx([0.5 / (4 / 9)])
    assert shortcut_lift.score(np.ones((1, 3, 3)), MASK).value == pytest.approx([1])
    assert shortcut_lift.score(MASK.astype(float), MASK).value == pytest.approx([9 / 4])
    assert shortcut_lift.score((~MASK).astype(float), MASK).value == pytest.approx([0])


def test_area_matched_iou_by_hand():
    """The four highest are 1, .6, .5, .4; two of them are evidence: o = 1/2, IoU = 2 of 6 pixels."""
    assert iou_area_matched.score(MAP, MASK).value == pytest.approx([2 / 6])


def test_a_tie_at_the_last_place_counts_in_expectation():
    """One pixel is clear and a hit; four tie for the other two places, one of them evidence: 1 + 2 * 1 / 4 hits of 3."""
    map_ = np.array([[[1.0, 0.5, 0.5], [0.5, 0.5, 0.0]]])
    mask = np.array([[[1, 1, 0], [0, 0, 1]]], dtype=bool)
    overlap = 1.5 / 3
    assert iou_area_matched.score(map_, mask).value == pytest.approx([overlap / (2 - overlap)])


@pytest.mark.parametrize("levels", [None, 2, 3, 10])
def test_the_tie_credit_is_the_mean_over_random_orders(levels):
    """A literal twin: break the ties at random, many times, and average the overlap."""
    maps, masks = random_case(levels or 0, count=4, size=(4, 5), levels=levels)
    rng = np.random.default_rng(0)
    for map_, mask in zip(maps, masks, strict=True):
        wanted = int(mask.sum())
        if wanted == 0:
            continue
        overlaps = []
        for _ in range(3000):
            order = np.lexsort((rng.random(map_.size), -map_.ravel()))
            overlaps.append(mask.ravel()[order[:wanted]].mean())
        iou = float(iou_area_matched.score(map_[None], mask[None]).value[0])
        assert 2 * iou / (1 + iou) == pytest.approx(np.mean(overlaps), abs=0.02)


def test_without_ties_the_area_matched_iou_is_the_iou_of_two_sets():
    maps, masks = random_case(1)
    values = iou_area_matched.score(maps, masks)
    for map_, mask, value in zip(maps, masks, values.value, strict=True):
        top = np.zeros(map_.size, dtype=bool)
        top[np.argsort(-map_.ravel())[: mask.sum()]] = True
        assert value == pytest.approx((top & mask.ravel()).sum() / (top | mask.ravel()).sum())


def test_a_perfect_map_is_perfect_and_its_complement_hits_nothing():
    _, masks = random_case(2)
    perfect = masks.astype(float)
    for module in (locacc, saliency_score, iou_area_matched):
        assert module.score(perfect, masks).value == pytest.approx(1)
        assert module.score(perfect[:1], ~masks[:1]).value == pytest.approx(0)


def test_an_all_ones_map_wins_locacc_and_only_locacc():
    masks = np.zeros((1, 10, 10), dtype=bool)
    masks[0, :2, :5] = True
    ones = np.ones((1, 10, 10))
    assert locacc.score(ones, masks).value == pytest.approx([1])
    assert saliency_score.score(ones, masks).value == pytest.approx([0.1])
    assert iou_area_matched.score(ones, masks).value == pytest.approx([0.1 / 1.9])


def test_an_empty_mask_is_undefined_and_says_why():
    empty = np.zeros_like(MASK)
    for module in (locacc, saliency_score, iou_area_matched, shortcut_lift):
        values = module.score(MAP, empty)
        assert values.undefined.tolist() == [True]
        assert values.reason


def test_a_full_mask_is_covered_by_whatever_is_highest():
    assert iou_area_matched.score(MAP, np.ones_like(MASK)).value == pytest.approx([1])


def test_the_runner_gives_a_status_and_a_reason_to_every_map():
    maps, masks = random_case(3, count=5, size=(6, 6))
    maps[1], maps[2, 0, 0] = 0.7, np.nan
    masks[0, :2] = True
    masks[3] = False
    found = localize(maps, grid="input", signed=False, size=(6, 6), regions={"evidence": masks}, metrics=METRICS)
    result = found["locacc"]
    assert result.status.tolist()[:4] == ["ok", "degenerate", "failed", "undefined"]
    assert result.reason.tolist()[:4] == ["", "the map is constant", "the map is not finite", "the mask is empty"]
    assert np.isnan(result.value[1:4]).all()
    lift = found["lift"]
    assert lift.status.tolist()[:3] == ["undefined", "degenerate", "failed"]
    assert lift.reason[0] == "this image has no shortcut"


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_the_runner_agrees_with_one_map_at_a_time_for_any_chunk(chunk):
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(10, 4, 4)).astype(np.float32)
    maps[5] = 0
    masks = rng.random((10, 12, 15)) < 0.2
    regions = {"evidence": masks, "shortcut": rng.random((10, 12, 15)) < 0.1}
    together = localize(maps, grid="native", signed=True, size=(12, 15), regions=regions, metrics=METRICS, chunk=chunk)
    for label, (module, options) in METRICS.items():
        for row in range(10):
            one = evaluate(maps[row : row + 1], grid="native", signed=True, size=(12, 15))
            if one.degenerate[0]:
                assert together[label].status[row] == "degenerate"
                continue
            alone = module.score(one.unit, regions[module.METRIC.region][row : row + 1], **options)
            assert together[label].value[row] == alone.value[0]


def test_no_maps_give_no_rows():
    found = localize(
        np.zeros((0, 4, 4)), grid="native", signed=False, size=(8, 8), regions={}, metrics={"locacc": (locacc, {})}
    )
    assert len(found["locacc"].value) == len(found["locacc"].status) == 0


def test_masks_of_another_size_are_refused():
    with pytest.raises(MaskSizeMismatch, match="evidence"):
        localize(MAP, grid="input", signed=False, size=(3, 3), regions={"evidence": MASK[:, :2]}, metrics=METRICS)
