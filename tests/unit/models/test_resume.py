"""A training that was interrupted at any batch, and went on, has the weights of one that ran through, to the bit."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from test_training_loop import PARTS, RECIPE, SPEC, blobs, equal
from torch import Tensor

from gradfaith.config.sections import Recipe
from gradfaith.errors import ForeignProgress, ModelUnusable, TrainingInterrupted
from gradfaith.models.timm_import import timm
from gradfaith.models.training import loop as training
from gradfaith.models.training.checkpoints import (
    WARNING_SIGNALS,
    CheckpointKeeper,
    SignalListener,
    TrainingState,
    listen_for_signals,
)
from gradfaith.models.training.image_source import ImagesOnDevice
from gradfaith.models.training.loop import TrainedClassifier, TrainingWatch, train
from gradfaith.runtime import device

SMALL = replace(SPEC, options={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 16], "stem_width": 8, "drop_rate": 0.3})
PLAIN = replace(RECIPE, batch=15)
RICH = replace(PLAIN, mixup=0.4, ema=0.8, accumulate=2, precision="bf16", channels_last=True, layer_decay=0.7)
STILL = replace(PLAIN, freeze=2, class_weights=True, patience=1, epochs=4, lr=1e-5)
GROUPED = replace(
    PLAIN, group_weights=True, max_slices_per_group=1, layer_decay=0.7, freeze=1, clip=0.1, epochs=3, batch=12
)
HALF = replace(PLAIN, precision="fp16", clip=1.0)
STEPS = 4  # batches of an epoch: three of training, one of validation


@dataclass(frozen=True)
class Signalling:
    """The scheduler's warning comes while the n-th batch is on its way."""

    images: Tensor
    at: int
    number: signal.Signals = signal.SIGTERM

    device = torch.device("cpu")

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        for index in indices:
            seen.append(0)
            if len(seen) == self.at:
                os.kill(os.getpid(), self.number)
            yield self.images[index]


seen: list[int] = []


def run(folder: Path, recipe: Recipe, at: int, number: signal.Signals = signal.SIGTERM) -> TrainedClassifier:
    seen.clear()
    images, labels = blobs()
    decides = {"recipe": recipe.to_dict()}
    with CheckpointKeeper(folder, decides, every=1e9) as keeper:
        pixels = Signalling(images, at, number)
        return train(SMALL, recipe, pixels, labels, PARTS, seed=2, groups=torch.arange(60) // 5, keeper=keeper)


def through(recipe: Recipe) -> TrainedClassifier:
    images, labels = blobs()
    return train(SMALL, recipe, ImagesOnDevice(images), labels, PARTS, seed=2, groups=torch.arange(60) // 5)


def rows(trained: TrainedClassifier) -> list[dict[str, Any]]:
    return [asdict(row) | {"seconds": 0} for row in trained.history]


@pytest.mark.parametrize(
    "recipe", [PLAIN, RICH, STILL, GROUPED, HALF], ids=["plain", "rich", "still", "grouped", "half"]
)
def test_warned_at_any_batch_it_goes_on_to_the_same_bits(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training, "VALIDATION_BATCH", 9
    )  # validation has two batches, and can be interrupted between them
    monkeypatch.setattr(
        training, "_check_precision", lambda *_: None
    )  # half precision is refused here, and its scaler is the same
    whole, steps = through(recipe), STEPS + 1
    for at in range(1, steps * len(whole.history) - 1):
        folder = tmp_path / str(at)
        with pytest.raises(TrainingInterrupted, match="training received SIGTERM in epoch "):
            run(folder, recipe, at)
        went_on = run(folder, recipe, 0)
        left = steps * len(whole.history) - at + 1  # with the batch that was on its way
        assert len(seen) <= left + 1, "more than the first batch of a validation was computed twice"
        assert equal(whole, went_on)
        assert (rows(whole), whole.best_epoch) == (rows(went_on), went_on.best_epoch)


def test_warned_at_every_batch_it_still_comes_to_an_end(tmp_path: Path) -> None:
    for _ in range(2 * STEPS - 1):
        with pytest.raises(TrainingInterrupted, match="training received SIGUSR1 in epoch "):
            run(tmp_path / "a", RICH, 1, signal.SIGUSR1)
    assert equal(through(RICH), run(tmp_path / "a", RICH, 0))
    assert len(seen) <= 1, "every attempt went one batch further"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_terminal_that_interrupts_or_goes_is_a_warning_too(tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(TrainingInterrupted, match=f"training received {number.name} in epoch 1, after 2 of 3 steps"):
        run(tmp_path / "a", PLAIN, 2, number)
    assert equal(through(PLAIN), run(tmp_path / "a", PLAIN, 0))


def test_an_interrupt_after_a_warning_ends_at_once() -> None:
    with listen_for_signals(enabled=True) as warned:
        os.kill(os.getpid(), signal.SIGINT)
        assert warned.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert warned.name == "SIGINT", "the first one is said"


def test_what_is_ignored_stays_ignored() -> None:
    """A training under `nohup` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listen_for_signals(enabled=True) as warned:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not warned.name
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_do_again_what_they_did(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in WARNING_SIGNALS]
    run(tmp_path / "a", PLAIN, 0)
    assert [signal.getsignal(number) for number in WARNING_SIGNALS] == before


def test_a_warning_is_read_once_so_that_no_end_is_without_a_state() -> None:
    """It comes when the watch has looked for one and found none."""

    class Late(SignalListener):
        @property
        def name(self) -> str:  # type: ignore[override]
            asked.append(0)
            return "SIGTERM" if len(asked) > 1 else ""

    asked: list[int] = []
    watch = TrainingWatch(Mock(), Mock(save_is_due=False), Late())
    watch.save_or_stop()
    watch.keeper.save.assert_not_called()  # type: ignore[union-attr]
    with pytest.raises(TrainingInterrupted):
        watch.save_or_stop()
    watch.keeper.save.assert_called_once()  # type: ignore[union-attr]


def test_a_diverged_training_is_told_so_again_and_a_lower_rate_begins_anew(tmp_path: Path) -> None:
    wild = replace(PLAIN, epochs=3, lr=1e30, warmup_epochs=0.0)
    with pytest.raises(ModelUnusable, match="the training loss of test_resnet became ") as first:
        run(tmp_path / "a", wild, 0)
    with pytest.raises(ModelUnusable) as second:
        run(tmp_path / "a", wild, 0)
    assert not seen, "a retry trains no batch"
    assert str(first.value) == str(second.value)
    assert f"delete {tmp_path / 'a'} first" in first.value.fix
    assert equal(through(PLAIN), run(tmp_path / "a", PLAIN, 0))


@pytest.mark.parametrize("fault", ["a tensor is missing", "a note is missing", "a moment too many"])
def test_a_state_that_does_not_fit_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "a", PLAIN, 2)
    with CheckpointKeeper(tmp_path / "a", {"recipe": PLAIN.to_dict()}, every=1e9) as keeper:
        found = keeper.load_latest()
        assert found is not None
        tensors, notes = dict(found.tensors), dict(found.notes)
        if fault == "a tensor is missing":
            del tensors["model:net.conv1.0.weight"]
        elif fault == "a note is missing":
            del notes["scaler"]
        else:
            tensors["optimizer:999.exp_avg"] = torch.zeros(1)
        keeper.save(TrainingState(tensors, notes))
    with pytest.raises(ForeignProgress, match=r"the last state in .*a does not fit this training \("):
        run(tmp_path / "a", PLAIN, 0)


def test_a_finished_training_whose_model_was_not_written_trains_no_batch(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", PLAIN, 0)
    again = run(tmp_path / "a", PLAIN, 0)
    assert not seen
    assert again.history == whole.history, "the seconds, too"
    assert equal(whole, again)


def test_another_recipe_does_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "a", PLAIN, 2)
    with pytest.raises(ForeignProgress, match=r"recipe\.lr was 0\.004 and is 0\.002"):
        run(tmp_path / "a", replace(PLAIN, lr=2e-3), 0)


def test_the_time_of_an_epoch_is_that_of_all_who_worked_on_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "a", PLAIN, 3)
    state = CheckpointKeeper(tmp_path / "a", {"recipe": PLAIN.to_dict()}, every=1e9)
    with state as keeper:
        found = keeper.load_latest()
    assert found is not None
    assert run(tmp_path / "a", PLAIN, 0).history[0].seconds > found.notes["seconds"] > 0


def test_a_state_from_another_device_or_torch_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "a", PLAIN, 2)
    with CheckpointKeeper(tmp_path / "a", {"recipe": PLAIN.to_dict()}, every=1e9) as keeper:
        found = keeper.load_latest()
        assert found is not None
        assert not found.notes["over"]
        others = {"device": "mps", "processor": "M1", "torch": "1.0", "timm": "0.9"}
        assert others.keys() <= found.notes.keys()
        keeper.save(replace(found, notes={**found.notes, **others}))
    assert "made in another environment" not in capsys.readouterr().out
    run(tmp_path / "a", PLAIN, 0)
    said = capsys.readouterr().out
    assert (
        f"made in another environment (device mps, here cpu; processor M1, here {device.device_name(torch.device('cpu'))}; "
        in said
    )
    assert f"; torch 1.0, here {torch.__version__}; timm 0.9, here {timm.__version__})" in said
