"""A training that was interrupted at any batch, and went on, has the weights of one that ran through, to the bit."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import PARTS, RECIPE, SPEC, blobs, equal
from torch import Tensor

from gradfaith.errors import ForeignProgress, TrainingInterrupted
from gradfaith.models import train as training
from gradfaith.models.pixels import Resident
from gradfaith.models.progress import Keeper
from gradfaith.models.recipe import Recipe
from gradfaith.models.train import Trained, train

SMALL = replace(SPEC, options={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 16], "stem_width": 8, "drop_rate": 0.3})
PLAIN = replace(RECIPE, batch=15)
RICH = replace(PLAIN, mixup=0.4, ema=0.8, accumulate=2, precision="bf16", channels_last=True, layer_decay=0.7)
STILL = replace(PLAIN, freeze=2, class_weights=True, patience=1, epochs=4, lr=1e-5)
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


def run(folder: Path, recipe: Recipe, at: int, number: signal.Signals = signal.SIGTERM) -> Trained:
    seen.clear()
    images, labels = blobs()
    decides = {"recipe": recipe.to_dict()}
    with Keeper(folder, decides, every=1e9) as keeper:
        pixels = Signalling(images, at, number)
        return train(SMALL, recipe, pixels, labels, PARTS, seed=2, groups=torch.arange(60) // 5, keeper=keeper)


def through(recipe: Recipe) -> Trained:
    images, labels = blobs()
    return train(SMALL, recipe, Resident(images), labels, PARTS, seed=2, groups=torch.arange(60) // 5)


def rows(trained: Trained) -> list[dict[str, Any]]:
    return [asdict(row) | {"seconds": 0} for row in trained.history]


@pytest.mark.parametrize("recipe", [PLAIN, RICH, STILL], ids=["plain", "rich", "still"])
def test_warned_at_any_batch_it_goes_on_to_the_same_bits(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHUNK", 9)  # validation has two batches, and can be interrupted between them
    whole, steps = through(recipe), STEPS + 1
    for at in range(1, steps * len(whole.history) - 1):
        folder = tmp_path / str(at)
        with pytest.raises(TrainingInterrupted, match="SIGTERM came in epoch "):
            run(folder, recipe, at)
        went_on = run(folder, recipe, 0)
        left = steps * len(whole.history) - at + 1  # with the batch that was on its way
        assert len(seen) <= left + 1, "more than the first batch of a validation was computed twice"
        assert equal(whole, went_on)
        assert (rows(whole), whole.best_epoch) == (rows(went_on), went_on.best_epoch)


def test_warned_at_every_batch_it_still_comes_to_an_end(tmp_path: Path) -> None:
    for _ in range(2 * STEPS - 1):
        with pytest.raises(TrainingInterrupted, match="SIGUSR1 came in epoch "):
            run(tmp_path / "a", RICH, 1, signal.SIGUSR1)
    assert equal(through(RICH), run(tmp_path / "a", RICH, 0))
    assert len(seen) <= 1, "every attempt went one batch further"


def test_signals_do_again_what_they_did(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    run(tmp_path / "a", PLAIN, 0)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


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
    state = Keeper(tmp_path / "a", {"recipe": PLAIN.to_dict()}, every=1e9)
    with state as keeper:
        found = keeper.latest()
    assert found is not None
    assert run(tmp_path / "a", PLAIN, 0).history[0].seconds > found.notes["seconds"] > 0


def test_a_state_from_another_device_or_torch_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "a", PLAIN, 2)
    with Keeper(tmp_path / "a", {"recipe": PLAIN.to_dict()}, every=1e9) as keeper:
        found = keeper.latest()
        assert found is not None
        assert not found.notes["over"]
        keeper.save(replace(found, notes={**found.notes, "device": "mps", "torch": "1.0"}))
    assert "made elsewhere" not in capsys.readouterr().out
    run(tmp_path / "a", PLAIN, 0)
    assert f"made elsewhere (device mps, here cpu; torch 1.0, here {torch.__version__})" in capsys.readouterr().out
