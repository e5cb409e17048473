"""Faith by hand: a model whose answer is known for every image."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gradfaith.metrics.contract import BatteryMaps, MethodMaps, Scores
from gradfaith.metrics.faithfulness import faith, faith_area_matched, faith_calibrated, faith_logit
from gradfaith.metrics.imputers import black, mean
from gradfaith.metrics.runners.masking import run_battery

METRICS = {"faith": (faith, {}), "faith_logit": (faith_logit, {})}
BLACK = {"black": (black, {})}


def summing(images: Tensor) -> Tensor:
    """Class 1 has the sum of the pixels for a logit, class 0 has nothing."""
    total = images.sum(dim=(1, 2, 3))
    return torch.stack([torch.zeros_like(total), total], dim=1)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def stored(raw, target=1):
    count = len(raw)
    return MethodMaps(raw, "input", False, torch.zeros(count, dtype=torch.long), torch.full((count,), target))


def faith_of(raw, imputers=BLACK, target=1, **given):
    image = torch.tensor([[[[0.8, 0.4], [0.6, 0.2]]]])
    return run_battery(summing, image, {"a": stored(raw, target)}, METRICS, imputers, **given).by_method["a"]


def test_faith_by_hand():
    """The map takes all of .8, half of .4 and nothing else from a sum of 2: the logit falls by 1."""
    found = faith_of(torch.tensor([[[1.0, 0.5], [0.0, 0.0]]]))
    assert found["faith_logit", "black"].value == pytest.approx([1.0])
    assert found["faith", "black"].value == pytest.approx([sigmoid(2) - sigmoid(1)])


def test_calibrated_faith_by_hand():
    """At temperature 4 the logit falls from 2 / 4 to 1 / 4; at 1 it is Faith."""
    image, map_ = torch.tensor([[[[0.8, 0.4], [0.6, 0.2]]]]), torch.tensor([[[1.0, 0.5], [0.0, 0.0]]])
    metrics = {"faith": (faith, {}), "faith_calibrated": (faith_calibrated, {})}
    for temperature in (4.0, 1.0):
        found = run_battery(summing, image, {"a": stored(map_)}, metrics, BLACK, temperature=temperature).by_method["a"]
        drop = sigmoid(2 / temperature) - sigmoid(1 / temperature)
        assert found["faith_calibrated", "black"].value == pytest.approx([drop])
        assert found["faith", "black"].value == pytest.approx([sigmoid(2) - sigmoid(1)])


def test_area_matched_faith_by_hand():
    """Half of four pixels, those with .8 and .4, whatever the map's scale, offset or hot pixel."""
    image = torch.tensor([[[[0.8, 0.4], [0.6, 0.2]]]])
    metrics = {"faith_area_matched": (faith_area_matched, {"share": 0.5})}
    for map_ in ([[1.0, 0.5], [0.0, 0.1]], [[900.0, 0.5], [0.2, 0.3]], [[6.0, 5.5], [5.0, 5.1]]):
        found = run_battery(summing, image, {"a": stored(torch.tensor([map_]))}, metrics, BLACK).by_method["a"]
        assert found["faith_area_matched", "black"].value == pytest.approx([sigmoid(2) - sigmoid(0.8)])


def test_faith_of_the_other_class_is_the_opposite():
    found = faith_of(torch.tensor([[[1.0, 0.5], [0.0, 0.0]]]), target=0)
    assert found["faith_logit", "black"].value == pytest.approx([0.0])
    assert found["faith", "black"].value == pytest.approx([sigmoid(1) - sigmoid(2)])


def test_the_mean_takes_the_place_of_what_is_removed():
    found = faith_of(torch.tensor([[[1.0, 0.5], [0.0, 0.0]]]), {"mean": (mean, {})}, mean=torch.tensor([0.3]))
    assert found["faith_logit", "mean"].value == pytest.approx([2 - (0.3 + (0.2 + 0.15) + 0.6 + 0.2)])


def test_an_all_ones_map_removes_the_whole_image():
    """Faith(1) = p(x) - p(black), the most that removing can do here."""
    (change,) = faith.changes(BatteryMaps(torch.ones(1, 2, 2), torch.zeros))
    assert_close(change.keep(), torch.zeros(1, 2, 2))
    base = Scores(torch.tensor([2.0]), torch.tensor([sigmoid(2)]))
    after = {"removed": Scores(torch.tensor([0.0]), torch.tensor([0.5]))}
    assert faith.score(base, after).value.tolist() == pytest.approx([sigmoid(2) - 0.5])
    almost = torch.ones(1, 2, 2)
    almost[0, 1, 1] = 0
    assert faith_of(almost)["faith_logit", "black"].value == pytest.approx([1.8])


def test_a_map_on_what_the_model_reads_is_more_faithful_than_its_mirror_image():
    image = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(6, 6)
    weights[:, :2] = 1

    def left(images):
        total = (images[:, 0] * weights).sum(dim=(1, 2))
        return torch.stack([-total, total], dim=1)

    maps = {"on": stored(weights[None]), "off": stored(weights.flip(1)[None])}
    found = run_battery(left, image, maps, METRICS, BLACK).by_method
    assert found["on"]["faith", "black"].value[0] > 0.1
    assert found["off"]["faith", "black"].value[0] == pytest.approx(0, abs=1e-6)
