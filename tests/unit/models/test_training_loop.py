"""Training: the same numbers for the same seed, weights of the best epoch, and honest refusals."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor
from torch.testing import assert_close

from gradfaith.config.sections import RECIPE_VERSION, Recipe
from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import ClassifierSpec
from gradfaith.models.predict import predict_logits
from gradfaith.models.training.image_source import ImagesOnDevice
from gradfaith.models.training.loop import TrainedClassifier, train
from gradfaith.models.training.optimiser import class_weights, group_weights, learning_rate, limit_images_per_group
from gradfaith.models.training.training_run import EpochRow, TrainingRun, _batch_pieces

SPEC = ClassifierSpec(timm="test_resnet", classes=3, channels=1, in_chans=1, size=32, mean=0.4, std=0.25)
RECIPE = Recipe(epochs=2, batch=16, lr=4e-3, warmup_epochs=1.0, label_smoothing=0.05, contrast=0.1)

# (epoch, train_loss, val_loss) of the golden run, and the version of the training code that gave them
GOLDEN_VERSION = 3
GOLDEN = ((1, 0.87232272, 1.09480369), (2, 0.47367141, 1.16207564))

# The same with everything on: weights of classes and groups, a cap, blending, an average, uneven pieces, all that is augmented
RICH = Recipe(
    epochs=4,
    batch=11,
    lr=4e-3,
    weight_decay=0.5,
    warmup_epochs=0.5,
    label_smoothing=0.1,
    class_weights=True,
    group_weights=True,
    max_slices_per_group=2,
    shift=0.1,
    rotate=20.0,
    scale=0.2,
    contrast=0.3,
    mixup=0.4,
    freeze=1,
    layer_decay=0.7,
    clip=0.5,
    ema=0.8,
    patience=2,
    accumulate=3,
)
GOLDEN_RICH = ((1, 0.96055331, 1.11571109), (2, 0.97074141, 1.18757951), (3, 1.01763317, 1.19619608))


def blobs(n: int = 60, size: int = 32) -> tuple[Tensor, Tensor]:
    """Nothing, a small disc or a large disc somewhere on noise: (n, 1, size, size) uint8 and labels (n,)."""
    draw = Generator().manual_seed(11)
    labels = torch.arange(n) % 3
    axis = torch.arange(size).float()
    centre = size / 4 + torch.rand(n, 2, generator=draw) * size / 2
    distance = (axis.view(1, -1, 1) - centre[:, 0].view(-1, 1, 1)) ** 2
    distance = distance + (axis.view(1, 1, -1) - centre[:, 1].view(-1, 1, 1)) ** 2  # (n, size, size)
    disc = distance < (torch.tensor([0.0, 3.0, 7.0])[labels] ** 2).view(-1, 1, 1)
    values = 90 + 90 * disc + 12 * torch.randn(n, size, size, generator=draw)
    return values.clamp(0, 255).to(torch.uint8).unsqueeze(1), labels


PARTS = {"train": torch.arange(42), "val": torch.arange(42, 60)}


def run(seed: int = 0, recipe: Recipe = RECIPE, **changes: object) -> TrainedClassifier:
    images, labels = blobs()
    return train(SPEC, recipe, ImagesOnDevice(images), labels, PARTS, seed=seed, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained() -> TrainedClassifier:
    return run()


def weights(result: TrainedClassifier) -> dict[str, Tensor]:
    return result.classifier.state_dict()


def equal(one: TrainedClassifier, other: TrainedClassifier) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


def rich() -> TrainedClassifier:
    """Large groups and small ones, and one class in fewer images than the others."""
    images, labels = blobs()
    parts = {"train": torch.tensor([at for at in range(42) if at % 9 not in (2, 5)]), "val": PARTS["val"]}
    groups = torch.where(torch.arange(60) < 40, torch.arange(60) // 7, 6 + torch.arange(60) // 2)
    return train(SPEC, RICH, ImagesOnDevice(images), labels, parts, seed=0, groups=groups)


@pytest.mark.parametrize("golden", [GOLDEN, GOLDEN_RICH], ids=["plain", "rich"])
def test_the_golden_run_gives_the_stored_losses(trained, golden):
    history = (trained if golden is GOLDEN else rich()).history
    found = [(row.epoch, row.train_loss, row.val_loss) for row in history]
    assert GOLDEN_VERSION == RECIPE_VERSION, "RECIPE_VERSION was bumped: store the new losses and the version here"
    for stored, new in zip(golden, found, strict=True):
        assert new == pytest.approx(stored, rel=1e-4), (
            f"the numbers of training changed, to {found}: bump RECIPE_VERSION in config/sections.py, so that trained "
            "models become stale, and store these losses and the version here"
        )


def test_the_same_seed_gives_bit_equal_weights_whatever_the_global_stream(trained):
    torch.manual_seed(12345)
    assert equal(trained, run())


def test_another_seed_gives_other_weights(trained):
    assert not equal(trained, run(seed=1))


def test_dropout_has_its_own_stream_for_every_epoch(monkeypatch):
    images, labels = blobs()
    spec = replace(SPEC, options={"drop_rate": 0.5})
    dropout, kept = torch.nn.functional.dropout, list[Tensor]()

    def kept_of(given: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        made = dropout(torch.ones_like(given), p, training)
        if training and p:
            kept.append(made != 0)
        return given * made

    monkeypatch.setattr(torch.nn.functional, "dropout", kept_of)
    one, other = (train(spec, RECIPE, ImagesOnDevice(images), labels, PARTS, seed=3) for _ in range(2))
    assert equal(one, other)
    steps = 3
    assert len(kept) == 2 * RECIPE.epochs * steps
    assert all(torch.equal(a, b) for a, b in zip(kept[: 2 * steps], kept[2 * steps :], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(kept[:steps], kept[steps : 2 * steps], strict=True))


def test_training_leaves_the_process_as_it_found_it():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    run()
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == strict


def test_discs_of_two_sizes_are_learnt_and_the_best_epoch_is_kept():
    images, labels = blobs(150)
    parts = {"train": torch.arange(105), "val": torch.arange(105, 150)}
    rows: list[EpochRow] = []
    result = train(
        SPEC, Recipe(epochs=12, batch=16, lr=8e-3), ImagesOnDevice(images), labels, parts, seed=0, report=rows.append
    )
    assert tuple(rows) == result.history
    best = max(result.history, key=lambda row: (row.val_balanced_accuracy, -row.val_loss, -row.epoch))
    assert result.best_epoch == best.epoch
    assert best.val_balanced_accuracy > 0.8
    answers = predict_logits(result.classifier, images[parts["val"]], chunk=7, device="cpu").argmax(dim=1)
    assert_close(float((answers == labels[parts["val"]]).float().mean()), best.val_accuracy, atol=1e-6, rtol=0)


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine():
    recipe = Recipe(epochs=10, lr=1.0, warmup_epochs=2.0)
    rates = [learning_rate(recipe, step, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[30] == pytest.approx(0.5)
    assert rates[49] == pytest.approx((1 + math.cos(math.pi * 39 / 40)) / 2)
    assert learning_rate(Recipe(epochs=10, lr=1.0, warmup_epochs=0.0), 0, 5) == 1.0


def test_class_weights_give_every_class_the_same_say():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    found = class_weights(labels, 3)
    assert_close(found * torch.bincount(labels), torch.full((3,), 10 / 3))
    assert_close(found[labels].mean(), torch.tensor(1.0))


def test_a_class_without_training_images_is_refused():
    with pytest.raises(ModelUnusable, match="class number 1"):
        class_weights(torch.tensor([0, 2]), 3)


def test_a_loss_that_is_not_finite_is_refused_with_what_to_do():
    with pytest.raises(ModelUnusable, match="the training loss of test_resnet became ") as refusal:
        run(recipe=Recipe(epochs=3, lr=1e30, warmup_epochs=0.0))
    assert "Set a lower training.lr" in refusal.value.fix


def test_a_validation_loss_that_is_not_finite_is_refused(monkeypatch):
    """Trained to a finite loss, and yet it cannot answer: never the best epoch."""
    monkeypatch.setattr(TrainingRun, "evaluated", property(lambda run: Endless(run.classifier)))
    with pytest.raises(ModelUnusable, match=r"the validation loss of test_resnet became (nan|inf) in epoch 1"):
        run()


class Endless(torch.nn.Module):
    """Answers with infinities."""

    def __init__(self, classifier: torch.nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(images) * torch.inf


def test_a_training_computes_at_the_threads_of_its_recipe():
    class Asking(ImagesOnDevice):
        def batches(self, indices):
            seen.append(torch.get_num_threads())
            return super().batches(indices)

    seen, (images, labels), before = list[int](), blobs(), torch.get_num_threads()
    train(SPEC, replace(RECIPE, epochs=1, threads=before + 1), Asking(images), labels, PARTS, seed=0)
    assert seen == [before + 1] * 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("many", "pieces", "sizes"),
    [(13, 4, [4, 3, 3, 3]), (12, 4, [3, 3, 3, 3]), (5, 4, [3, 2]), (3, 4, [3]), (1, 4, [1]), (6, 1, [6])],
)
def test_pieces_are_of_nearly_equal_size_and_never_of_one_image(many, pieces, sizes):
    found = list(_batch_pieces(many, pieces))
    assert [some.stop - some.start for some in found] == sizes
    assert [row for some in found for row in range(many)[some]] == list(range(many))


def test_groups_weigh_alike_within_their_class_and_the_mean_is_one():
    labels, groups = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([5, 5, 5, 7, 5, 8])
    index = torch.arange(6)
    found = group_weights(index, labels, groups)
    torch.testing.assert_close(found, torch.tensor([2 / 3, 2 / 3, 2 / 3, 2, 1, 1]))
    assert float(found.mean()) == pytest.approx(1)
    part = group_weights(index[:2], labels, groups)
    torch.testing.assert_close(part, torch.ones(6))


def test_a_group_is_capped_evenly_and_others_are_left_alone():
    labels, groups = torch.zeros(13, dtype=torch.long), torch.tensor([0] * 10 + [1] * 3)
    assert limit_images_per_group(torch.arange(13), labels, groups, 4).tolist() == [0, 3, 6, 9, 10, 11, 12]
    assert limit_images_per_group(torch.arange(13), labels, groups, None).tolist() == list(range(13))
    assert limit_images_per_group(torch.arange(13), labels, groups, 1).tolist() == [5, 11], "of one the middle"
    assert limit_images_per_group(torch.tensor([9, 8, 12]), labels, groups, 1).tolist() == [8, 12]


@pytest.mark.parametrize(("side", "expected"), [(32, [18]), (65, [4, 4, 4, 4, 2])])
def test_large_images_are_validated_by_a_pass_of_training_and_small_ones_at_once(side, expected):
    seen: list[int] = []

    class Seen(ImagesOnDevice):
        def batches(self, indices):
            seen.extend(map(len, indices))
            return super().batches(indices)

    images, labels = blobs(size=side)
    recipe = replace(RECIPE, epochs=1, accumulate=4)
    train(replace(SPEC, size=side), recipe, Seen(images), labels, PARTS, seed=0)
    assert seen == [14, 14, 14, *expected]
