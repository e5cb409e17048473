"""Localization metrics by the identities that bind them, on perfect and on flat maps; Otsu's threshold."""

import numpy as np
import pytest
from literal_localization import TWINS
from literal_localization import otsu as literal_otsu
from test_localization_metrics import number, random_case

from gradfaith.metrics.maps import located


def test_a_perfect_map_is_perfect_and_its_complement_hits_nothing():
    _, masks = random_case(2)
    perfect = masks.astype(float)
    tops = {
        "locacc",
        "recall",
        "precision",
        "f1",
        "iou",
        "topk_overlap",
        "topk_gain",
        "iou_area_matched",
        "saliency_score",
    }
    for name in tops | {
        "cosine",
        "roc_auc",
        "average_precision",
        "pointing_game",
        "tko_literature",
        "locacc_literature",
    }:
        for variant in TWINS[name]:
            assert number(name, perfect, masks, variant) == pytest.approx(1), name
    for name in tops - {"topk_gain"} | {"cosine", "roc_auc", "pointing_game"}:
        for variant in TWINS[name]:
            few = masks & (np.cumsum(masks.reshape(12, -1), axis=1).reshape(masks.shape) <= 20)
            assert number(name, (~few).astype(float), few, variant) == pytest.approx(0), name


def test_an_all_ones_map_wins_recalls_only():
    masks = np.zeros((1, 10, 10), dtype=bool)
    masks[0, :2, :5] = True
    ones = np.ones((1, 10, 10))
    expected = {
        "locacc": 1, "recall": 1, "precision": 0.1, "f1": 2 / 11, "iou": 0.1, "topk_overlap": 0.1, "topk_gain": 0, "roc_auc": 0.5,
        "average_precision": 0.1, "pointing_game": 0.1, "saliency_score": 0.1, "saliency_gain": 1, "cosine": np.sqrt(0.1),
    }  # fmt: skip
    for name, value in expected.items():
        assert number(name, ones, masks, next(iter(TWINS[name]))) == pytest.approx([value]), name


@pytest.mark.parametrize("levels", [None, 3])
class TestIdentities:
    """What the papers report as several numbers is often one."""

    def test_f1_is_a_function_of_iou(self, levels):
        maps, masks = random_case(5, levels=levels)
        for variant in TWINS["iou"]:
            iou = number("iou", maps, masks, variant)
            np.testing.assert_allclose(number("f1", maps, masks, variant), 2 * iou / (1 + iou))

    def test_iou_follows_from_precision_and_recall(self, levels):
        maps, masks = random_case(6, levels=levels)
        for variant in TWINS["iou"]:
            p, r, iou = (number(name, maps, masks, variant) for name in ("precision", "recall", "iou"))
            p, r, iou = p[p > 0], r[p > 0], iou[p > 0]
            np.testing.assert_allclose(iou, p * r / (p + r - p * r))

    def test_at_the_matched_area_precision_recall_f1_and_top_k_are_one(self, levels):
        maps, masks = random_case(7, levels=levels)
        overlap = number("topk_overlap", maps, masks)
        for name in ("precision", "recall", "f1"):
            np.testing.assert_allclose(number(name, maps, masks, "area-matched"), overlap)
        for name, variant in (("iou_area_matched", ""), ("iou", "area-matched")):
            np.testing.assert_allclose(number(name, maps, masks, variant), overlap / (2 - overlap))

    def test_the_literature_s_tko_is_o_over_2_minus_o_without_ties(self, levels):
        maps, masks = random_case(8)
        overlap = number("topk_overlap", maps, masks)
        np.testing.assert_allclose(number("tko_literature", maps, masks), overlap / (2 - overlap))

    def test_recall_at_the_fixed_threshold_is_locacc(self, levels):
        maps, masks = random_case(9, levels=levels)
        np.testing.assert_array_equal(number("recall", maps, masks, "fixed"), number("locacc", maps, masks))

    def test_the_auc_of_a_negative_is_the_rest_to_one(self, levels):
        maps, masks = random_case(10, levels=levels)
        np.testing.assert_allclose(number("roc_auc", 1 - maps, masks), 1 - number("roc_auc", maps, masks))

    def test_a_gain_is_its_share_over_the_area(self, levels):
        maps, masks = random_case(11, levels=levels)
        share, area = (number("shortcut_share", maps, masks, variant) for variant in ("", "by-area"))
        np.testing.assert_allclose(number("shortcut_lift", maps, masks), share / area)
        np.testing.assert_allclose(number("saliency_gain", maps, masks), share / area)
        np.testing.assert_allclose(number("outside_body_share", maps, masks), 1 - share)


@pytest.mark.parametrize("levels", [None, 2, 3, 10, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_otsu_is_its_literal_twin(levels, dtype):
    maps, _ = random_case(12, levels=levels)
    maps = maps.astype(dtype).reshape(12, -1)
    maps[:, 0], maps[:, 1] = 0, 1  # an evaluated map spans [0, 1]
    for map_, value in zip(maps, located.otsu_thresholds(np.sort(maps, axis=1)), strict=True):
        assert value == literal_otsu([float(one) for one in map_])


def test_otsu_parts_two_humps_between_them():
    rng = np.random.default_rng(13)
    humps = np.concatenate([rng.normal(0.2, 0.02, 900), rng.normal(0.8, 0.02, 100)]).clip(0, 1)
    assert 0.28 < located.otsu_thresholds(np.sort(humps)[None])[0] < 0.72
