"""The decoder beside the classifier: its shape, its loss, its masks, and that the classifier does not depend on it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.testing import assert_close

from gradfaith.config.architecture import Architecture, DecoderSettings, NetworkSettings, decoder_problems
from gradfaith.config.sections import Recipe
from gradfaith.errors import ModelUnusable
from gradfaith.models import checkpoint
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.models.multitask import decoder_loss
from gradfaith.models.training.checkpoints import CheckpointKeeper
from gradfaith.models.training.image_source import ImagesOnDevice, augment, augment_with_masks
from gradfaith.models.training.loop import TrainedClassifier, train
from gradfaith.models.training.optimiser import LossWeights
from gradfaith.models.training.train_job import write_history
from gradfaith.models.training.training_run import TrainingData, TrainingRun

SPEC = ClassifierSpec(timm="test_resnet", classes=2, channels=1, in_chans=1, size=64, mean=0.4, std=0.25)
RECIPE = Recipe(epochs=2, batch=8, lr=4e-3, warmup_epochs=0.0, contrast=0.1)
PARTS = {"train": torch.arange(24), "val": torch.arange(24, 32), "test": torch.arange(32, 40)}


def squares(n: int = 40, size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Return noise with a bright square in every second image, its mask, and the labels."""
    draw = Generator().manual_seed(3)
    images = torch.randint(0, 60, (n, 1, size, size), generator=draw, dtype=torch.uint8)
    masks, labels = torch.zeros_like(images), torch.arange(n) % 2
    for row in range(1, n, 2):
        y, x = torch.randint(8, size - 24, (2,), generator=draw).tolist()
        masks[row, :, y : y + 16, x : x + 16] = 1
    return images + 180 * masks, masks, labels


def trained(settings: DecoderSettings | None, recipe: Recipe = RECIPE, **options: object) -> TrainedClassifier:
    images, masks, labels = squares()
    sources = {"masks": ImagesOnDevice(masks)} if settings and settings.weight and settings.target == "mask" else {}
    spec = replace(SPEC, decoder=settings)
    parts = PARTS if settings else {part: PARTS[part] for part in ("train", "val")}
    return train(spec, recipe, ImagesOnDevice(images), labels, parts, seed=1, **sources, **options)  # type: ignore[arg-type]


def weights_of(model: TrainedClassifier) -> dict[str, Tensor]:
    return {name: value for name, value in model.classifier.state_dict().items() if name.startswith("net.")}


def test_the_decoder_of_efficientnet_b0_is_that_of_the_papers_code() -> None:
    """Widths 16, 32, 16, 8, 4, sides 14 to 224, then one channel: counted by hand from the description of the code."""
    spec = ClassifierSpec("efficientnet_b0", 5, 3, 3, 224, 0.5, 0.25, decoder=DecoderSettings())
    decoder = build_classifier(spec).decoder
    assert decoder is not None
    widths = [1280, 16, 32, 16, 8, 4]
    by_hand = sum(16 * a * b + b + 2 * b + 9 * b * b + b + 2 * b for a, b in pairwise(widths))
    assert sum(parameter.numel() for parameter in decoder.parameters()) == by_hand + 9 * 4 + 1
    sides = []
    x = torch.zeros(1, 1280, 7, 7)
    for stage in decoder.eval():
        x = stage(x)
        sides.append(x.shape[-1])
    assert sides == [14, 28, 56, 112, 224, 224]
    assert x.shape[1] == 1


def test_logits_with_and_without_the_decoder_are_equal() -> None:
    model = build_classifier(replace(SPEC, decoder=DecoderSettings(target="image"))).eval()
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        logits, decoded = model.forward_both(images)
        assert torch.equal(logits, model(images))
        assert torch.equal(logits, build_classifier(SPEC).eval()(images)), "the network's random weights do not change"
    assert decoded.shape == images.shape


def test_losses_are_the_formulas() -> None:
    outputs, target = torch.randn(2, 1, 5, 5), (torch.rand(2, 1, 5, 5) > 0.7).float()
    p = torch.sigmoid(outputs)
    by_hand = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    assert_close(decoder_loss(DecoderSettings(loss="bce"), outputs, target), by_hand)
    assert_close(decoder_loss(DecoderSettings(loss="mse"), outputs, target), ((outputs - target) ** 2).mean())


def test_weight_zero_is_an_ordinary_training_bit_by_bit() -> None:
    plain, ablated = trained(None), trained(DecoderSettings(weight=0))
    for name, value in weights_of(plain).items():
        assert torch.equal(weights_of(ablated)[name], value), name
    assert [row.train_loss for row in plain.history] == [row.train_loss for row in ablated.history]
    assert ablated.losses["test"].decoder_loss is None
    assert not plain.losses


@pytest.mark.parametrize("loss", ["bce", "mse"])
@pytest.mark.parametrize("target", ["mask", "image"])
def test_the_decoder_learns_and_the_network_changes(loss: str, target: str) -> None:
    settings = DecoderSettings(loss=loss, target=target)  # type: ignore[arg-type]
    model = trained(settings, replace(RECIPE, epochs=6))
    losses = [row.train_decoder_loss for row in model.history]
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < 0.9 * losses[0]
    assert not all(torch.equal(weights_of(trained(None))[name], value) for name, value in weights_of(model).items())
    for row in model.history:
        assert row.train_class_loss is not None
        assert row.val_decoder_loss is not None
        assert row.train_loss == pytest.approx(row.train_class_loss + row.train_decoder_loss)  # type: ignore[operator]
        assert row.val_loss == pytest.approx(row.val_class_loss + row.val_decoder_loss)  # type: ignore[operator]
    measured = model.losses["test"]
    assert measured.images == 8
    assert measured.decoder_loss is not None
    assert measured.total_loss == pytest.approx(measured.class_loss + measured.decoder_loss)


def test_the_measured_losses_are_those_of_the_kept_weights() -> None:
    model = trained(DecoderSettings(loss="mse", weight=2.0))
    images, masks, labels = squares()
    with torch.no_grad():
        logits, decoded = model.classifier.forward_both(images[PARTS["test"]].float() / 255)
    measured = model.losses["test"]
    assert measured.class_loss == pytest.approx(
        float(functional.cross_entropy(logits, labels[PARTS["test"]])), rel=1e-5
    )
    expected = float(((decoded - masks[PARTS["test"]].float()) ** 2).mean())
    assert measured.decoder_loss == pytest.approx(expected, rel=1e-5)
    assert measured.total_loss == pytest.approx(measured.class_loss + 2 * expected, rel=1e-5)


def test_pieces_of_a_batch_have_the_loss_of_the_batch() -> None:
    """Without batch norms the gradient of a batch does not depend on the pieces; the recorded loss shows it here."""
    images, masks, labels = squares()
    sums = []
    for pieces in (1, 3):
        settings = DecoderSettings(weight=0.5)
        classifier = build_classifier(replace(SPEC, decoder=settings), seed=1)
        data = TrainingData(
            ImagesOnDevice(images),
            PARTS["train"],
            PARTS["val"],
            LossWeights(labels, None, None, 0.0),
            ImagesOnDevice(masks),
        )
        run = TrainingRun(classifier, replace(RECIPE, accumulate=pieces), data, seed=1)
        run.begin_epoch()
        classifier.eval()  # batch norms with fixed statistics
        run.train_step(PARTS["train"][:8], images[:8], masks[:8])
        sums.append((float(run.loss_sum), float(run.decoder_loss_sum)))
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)


def test_one_affine_map_moves_the_image_and_its_mask() -> None:
    """The image IS the mask here, so both must be equal after any augmentation, up to the mask's threshold."""
    _, masks, _ = squares()
    recipe = replace(RECIPE, contrast=0.0, rotate=30.0, shift=0.2, scale=0.3)
    moved, moved_masks = augment_with_masks(masks.float(), masks.float(), recipe, Generator().manual_seed(0))
    assert moved_masks is not None
    assert torch.equal(moved_masks, (moved >= 0.5).float())
    assert not torch.equal(moved_masks, masks.float())
    assert torch.equal(moved, augment(masks.float(), recipe, Generator().manual_seed(0)))


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path) -> None:
    settings = DecoderSettings(loss="mse")
    complete = trained(settings)

    class Stop(Exception):
        pass

    def stop(_row: object) -> None:
        raise Stop

    with pytest.raises(Stop), CheckpointKeeper(tmp_path / "p", {"a": 1}, every=0) as keeper:
        trained(settings, report=stop, keeper=keeper)
    with CheckpointKeeper(tmp_path / "p", {"a": 1}, every=0) as keeper:
        resumed = trained(settings, keeper=keeper)
    assert all(
        torch.equal(resumed.classifier.state_dict()[name], value)
        for name, value in complete.classifier.state_dict().items()
    )
    for one, other in zip(complete.history, resumed.history, strict=True):
        assert replace(one, seconds=0) == replace(other, seconds=0)


def test_a_loaded_model_is_the_classifier_alone_and_its_card_keeps_the_decoder(tmp_path) -> None:
    model = trained(DecoderSettings(loss="mse"))
    checkpoint.save(tmp_path, model.classifier, {})
    loaded = checkpoint.load(tmp_path / checkpoint.WEIGHTS, tmp_path / checkpoint.CARD)
    assert loaded.decoder is None
    assert not any(name.startswith("decoder") for name in loaded.state_dict())
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert_close(loaded(images), model.classifier(images))  # the trained one may be in channels_last memory
    spec = ClassifierSpec.from_json(checkpoint.read_card(tmp_path / checkpoint.CARD)["spec"])
    assert spec == model.classifier.spec
    assert spec.decoder == DecoderSettings(loss="mse")


def test_the_history_has_both_losses_only_with_a_decoder(tmp_path) -> None:
    for settings, columns in ((None, 7), (DecoderSettings(weight=0), 7), (DecoderSettings(), 11)):
        write_history(str(tmp_path / "history.csv"), trained(settings))
        header, *rows = (tmp_path / "history.csv").read_text().splitlines()
        assert header.count(",") + 1 == columns
        assert len(rows) == 2


def test_every_key_of_the_decoder_decides_what_is_trained_and_none_is_written_without_one() -> None:
    without = NetworkSettings.of("a", Architecture(timm="resnet18"), "").model_dump()
    assert without == {"timm": "resnet18", "in_chans": 3, "options": {}}, (
        "models of earlier studies do not become stale"
    )
    found = [
        NetworkSettings.of("a", Architecture(timm="resnet18", decoder=settings), "").model_dump()
        for settings in (DecoderSettings(), *(DecoderSettings(**{key: value}) for key, value in CHANGED.items()))
    ]
    assert len({str(one) for one in found}) == len(CHANGED) + 1


CHANGED = {"weight": 0, "loss": "mse", "target": "image", "width": 8}


@pytest.mark.parametrize(("spec", "said"), [
    (replace(SPEC, size=48, decoder=DecoderSettings()), "feature map of 2 x 2 for images of 48"),
    (replace(SPEC, timm="test_vit", size=160, in_chans=3, channels=3, decoder=DecoderSettings()), "features are"),
])  # fmt: skip
def test_networks_that_cannot_have_a_decoder_are_refused(spec: ClassifierSpec, said: str) -> None:
    with pytest.raises(ModelUnusable, match=said):
        build_classifier(spec)


def test_mixed_images_have_mixed_masks() -> None:
    model = trained(DecoderSettings(), replace(RECIPE, mixup=0.4, layer_decay=0.8, ema=0.5))
    assert np.isfinite([row.val_loss for row in model.history]).all()


def test_a_decoder_needs_a_training_and_masks() -> None:
    mask, image, off = (
        Architecture(decoder=DecoderSettings(**keys)) for keys in ({}, {"target": "image"}, {"weight": 0})
    )
    assert not decoder_problems({"a": mask}, trains=True, evidence="mask")
    assert not decoder_problems({"a": image, "b": off, "c": Architecture()}, trains=True, evidence="none")
    assert "trains nothing" in decoder_problems({"a": off}, trains=False, evidence="mask")[0]
    assert "has no evidence" in decoder_problems({"a": mask}, trains=True, evidence="none")[0]
    assert "without an extent" in decoder_problems({"a": mask}, trains=True, evidence="point")[0]
