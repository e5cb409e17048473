"""Localization metrics beside scikit-learn's, scikit-image's and Quantus's; where a judge is wrong, the smallest case of it.

Quantus wants opencv-python, which overwrites the opencv-python-headless that grad-cam stands on: envs/peers.txt has it installed
without its requirements.
"""

import importlib
import warnings

import numpy as np
import pytest
from skimage.filters import threshold_otsu
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.metrics.pairwise import cosine_similarity

from gradfaith import registry
from gradfaith.metrics.maps import located
from gradfaith.metrics.maps.located import Located

every_kind_of_map = pytest.mark.parametrize("levels", [None, 2, 7])
without_ties = pytest.mark.parametrize("levels", [None])


def cases(levels: int | None, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Maps of many values or of few, masks of several sizes, none empty or full."""
    rng = np.random.default_rng(levels or 0)
    maps = rng.random((count, 16, 16)) if levels is None else rng.integers(0, levels, (count, 16, 16)) / (levels - 1)
    masks = rng.random((count, 16, 16)) < rng.uniform(0.02, 0.7, (count, 1, 1))
    masks[:, 3, 4], masks[:, 5, 6] = True, False
    return maps, masks


def ours(name: str, maps: np.ndarray, masks: np.ndarray, variant: str = "") -> np.ndarray:
    found = registry.load("localization", name).score(Located.from_maps(maps, masks))
    return (found[variant] if variant else found).value


def theirs(judge, maps: np.ndarray, masks: np.ndarray) -> list[float]:
    return [float(judge(mask.ravel(), map_.ravel())) for map_, mask in zip(maps, masks, strict=True)]


@every_kind_of_map
@pytest.mark.parametrize(
    ("name", "judge"), [("roc_auc", roc_auc_score), ("average_precision", average_precision_score)]
)
def test_rank_metrics_are_scikit_learns(name, judge, levels):
    maps, masks = cases(levels)
    np.testing.assert_allclose(ours(name, maps, masks), theirs(judge, maps, masks), rtol=1e-10)


@every_kind_of_map
@pytest.mark.parametrize(
    ("name", "judge"),
    [("precision", precision_score), ("recall", recall_score), ("f1", f1_score), ("iou", jaccard_score)],
)
def test_overlap_at_the_fixed_threshold_is_scikit_learns(name, judge, levels):
    maps, masks = cases(levels)
    np.testing.assert_allclose(ours(name, maps, masks, "fixed"), theirs(judge, maps >= 0.5, masks))


@every_kind_of_map
def test_cosine_is_scikit_learns(levels):
    maps, masks = cases(levels)
    expected = theirs(lambda mask, map_: cosine_similarity(mask[None], map_[None])[0, 0], maps, masks)
    np.testing.assert_allclose(ours("cosine", maps, masks), expected)


@pytest.mark.parametrize("levels", [None, 2, 7, 200])
def test_otsu_is_scikit_images_by_half_a_bin(levels):
    """It returns the middle of the lower side's last bin, we the bin's end: the same parting of the pixels' bins."""
    maps = cases(levels)[0].reshape(20, -1)
    maps[:, 0], maps[:, 1] = 0, 1
    for map_, found in zip(maps, located.otsu_thresholds(np.sort(maps, axis=1)), strict=True):
        assert found - 1 / 512 == pytest.approx(threshold_otsu(map_, nbins=256), abs=1e-12)


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("quantus")


def judged(quantus, name: str, maps: np.ndarray, masks: np.ndarray, **how: object) -> np.ndarray:
    judge = getattr(quantus, name)(disable_warnings=True, **how)
    return np.asarray(judge.evaluate_batch(a_batch=maps.copy(), s_batch=masks.copy()), dtype=float)


class TestQuantus:
    @without_ties
    def test_relevance_rank_accuracy_is_the_top_k_overlap(self, quantus, levels):
        maps, masks = cases(levels)
        found = ours("topk_overlap", maps, masks)
        np.testing.assert_allclose(found, judged(quantus, "RelevanceRankAccuracy", maps, masks))

    @every_kind_of_map
    def test_relevance_mass_accuracy_is_the_saliency_score(self, quantus, levels):
        maps, masks = cases(levels)
        found = ours("saliency_score", maps, masks)
        np.testing.assert_allclose(found, judged(quantus, "RelevanceMassAccuracy", maps, masks))

    @every_kind_of_map
    def test_auc(self, quantus, levels):
        maps, masks = cases(levels)
        np.testing.assert_allclose(ours("roc_auc", maps, masks), judged(quantus, "AUC", maps, masks))

    @without_ties
    def test_pointing_game(self, quantus, levels):
        maps, masks = cases(levels)
        np.testing.assert_allclose(ours("pointing_game", maps, masks), judged(quantus, "PointingGame", maps, masks))

    def test_top_k_intersection_with_k_the_area(self, quantus):
        maps, masks = cases(None)
        for map_, mask in zip(maps, masks, strict=True):
            found = judged(quantus, "TopKIntersection", map_[None], mask[None], k=int(mask.sum()))
            np.testing.assert_allclose(ours("topk_overlap", map_[None], mask[None]), found)

    def test_its_pointing_game_calls_an_empty_mask_a_hit(self, quantus):
        """Its NaN is written into an array of truth values, where it becomes true."""
        maps, empty = cases(None, count=1)[0], np.zeros((1, 16, 16), dtype=bool)
        assert judged(quantus, "PointingGame", maps, empty).tolist() == [1]
        assert registry.load("localization", "pointing_game").score(
            Located.from_maps(maps, empty)
        ).undefined.tolist() == [True]

    def test_its_pointing_game_takes_any_of_the_tied_pixels(self, quantus):
        """A flat map points everywhere, and hits whatever there is; in expectation it hits by area."""
        flat, mask = np.ones((1, 4, 4)), np.zeros((1, 4, 4), dtype=bool)
        mask[0, 2, 2] = True
        assert judged(quantus, "PointingGame", flat, mask).tolist() == [1]
        assert ours("pointing_game", flat, mask).tolist() == [1 / 16]

    def test_its_rank_accuracy_breaks_ties_by_memory_order(self, quantus):
        """The same map and mask, mirrored, get 1 and 0."""
        map_, mask = np.zeros((1, 1, 8)), np.zeros((1, 1, 8), dtype=bool)
        mask[0, 0, :2] = True
        here, mirrored = (judged(quantus, "RelevanceRankAccuracy", map_, one)[0] for one in (mask, mask[..., ::-1]))
        assert here != mirrored
        assert ours("topk_overlap", map_, mask).tolist() == [2 / 8]
