"""TensorBoard's events: a scalar per column and epoch, no epoch twice after going on."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing import event_accumulator

from gradfaith.models.training.train_job import TensorBoardWriter
from gradfaith.models.training.training_run import EpochRow


def row(epoch: int, loss: float) -> EpochRow:
    return EpochRow(epoch, 1e-3, 0.5, loss, 0.9, 0.8, 1.5)


def test_every_epoch_is_shown_once(tmp_path: Path) -> None:
    first = TensorBoardWriter(tmp_path)
    for epoch in (1, 2, 3):
        first.write_epoch(row(epoch, epoch / 10))
    second = TensorBoardWriter(tmp_path)  # the state was of the second epoch: the third was trained again
    second.write_epoch(row(3, 0.7))
    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    shown = [(scalar.step, scalar.value) for scalar in events.Scalars("val_loss")]
    assert shown == [(1, pytest.approx(0.1)), (2, pytest.approx(0.2)), (3, pytest.approx(0.7))]
    assert set(events.Tags()["scalars"]) == {
        "lr", "train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "seconds",
    }  # fmt: skip
