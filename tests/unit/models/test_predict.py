"""Predictions do not depend on the chunk; temperatures are the likelihood's optimum."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.testing import assert_close

from gradfaith import rng
from gradfaith.models.predict import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    class_probabilities,
    fit_temperature,
    predict_logits,
    seconds_per_image,
)


class Means(nn.Module):
    """Answers the mean of its image, and minus it: known by hand. Dropout shows whether it was left in training."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:  # (n, c, h, w)
        mean = self.dropout(x).mean(dim=(1, 2, 3))
        return torch.stack([mean, -mean], dim=1)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (10, 1, 6, 6), generator=Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("chunk", [1, 3, 10, 64])
def test_logits_are_those_of_the_scaled_image_whatever_the_chunk(images, chunk):
    logits = predict_logits(Means().train(), images, chunk=chunk, device="cpu")
    assert_close(logits[:, 0], images.float().mean(dim=(1, 2, 3)) / 255)
    assert_close(logits[:, 1], -logits[:, 0])


def test_the_time_of_a_slow_model_is_measured_and_one_hiccup_does_not_move_it():
    import time

    class Sleeper(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            time.sleep(0.2 if self.calls in (1, 9) else 0.002)
            return x

    sleeper = Sleeper()
    assert 0.002 <= seconds_per_image(sleeper, torch.zeros(1, 4, 4, dtype=torch.uint8), rounds=9) < 0.1
    assert sleeper.calls == 14


def spread(t: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `t` times those the labels were drawn from."""
    draw = rng.generator(0, "calibration", t)
    honest = draw.normal(size=(n, 3)) * 2
    labels = (honest + draw.gumbel(size=honest.shape)).argmax(axis=1)  # the Gumbel trick draws from the softmax
    return honest * t, labels


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(t):
    assert fit_temperature(*spread(t)) == pytest.approx(t, rel=0.08)


def test_the_temperature_is_the_best_of_a_grid():
    logits, labels = spread(2.0, 200)
    grid = np.geomspace(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE, 2001)
    loss = [-np.log(class_probabilities(logits, t)[np.arange(len(labels)), labels]).mean() for t in grid]
    assert fit_temperature(logits, labels) == pytest.approx(grid[np.argmin(loss)], rel=0.01)


def test_a_validation_part_without_an_error_stops_at_the_bound():
    assert fit_temperature(np.eye(3), np.arange(3)) == pytest.approx(LOWEST_TEMPERATURE, rel=1e-3)


def test_calibration_keeps_the_order_of_the_classes_and_sums_to_one():
    logits, _ = spread(1.0, 50)
    calibrated = class_probabilities(logits, 2.5)
    assert (calibrated.argsort(axis=1) == logits.argsort(axis=1)).all()
    assert_close(calibrated.sum(axis=1), np.ones(50))
