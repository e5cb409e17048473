"""Classifiers with other outputs: a class is the logsumexp of its outputs, for answers, gradients, cards and temperatures alike."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from test_train_job import CLASSES, CPU, GRADCAM, SETTINGS, fine, known
from torch.testing import assert_close
from typed import typed_methods

from gradfaith.attribution import bound_method
from gradfaith.attribution.taps import tap_layers
from gradfaith.config.job_settings import AdoptSettings, TrainSettings
from gradfaith.errors import LayerUnusable, MethodUndefined, ModelUnusable
from gradfaith.models import checkpoint, predict
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.predict import ClassMerge, class_probabilities, fit_temperature
from gradfaith.models.timm_import import timm
from gradfaith.models.training import train_job
from gradfaith.storage.hdf5 import ImageStore

FIVE = ClassifierSpec("test_resnet.r160_in1k", 5, 1, 1, 32, 0.3, 0.2, {"output_stride": 8})
MAP = ((1,), (3,), (4, 0))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return build_classifier(FIVE.with_class_map(MAP), seed=2).eval()


@pytest.fixture(scope="module")
def images(images_file: Path):
    with ImageStore(images_file) as opened:
        yield opened


def test_a_class_is_the_sum_of_its_outputs_probabilities_among_the_mapped_ones(classifier: Classifier) -> None:
    x = torch.rand(3, 1, 32, 32)
    own, whole = classifier(x).softmax(1), classifier.without_class_map()(x).softmax(1)
    mapped = whole[:, [0, 1, 3, 4]].sum(dim=1)
    assert_close(own, torch.stack([whole[:, 1], whole[:, 3], whole[:, 4] + whole[:, 0]], dim=1) / mapped[:, None])
    assert_close(whole, classifier.net((x - 0.3) / 0.2).softmax(1))


def test_the_gradient_of_a_class_is_shared_by_its_outputs(classifier: Classifier) -> None:
    x = torch.rand(2, 1, 32, 32)
    with tap_layers(classifier, "auto") as tap:
        tap.forward(x)
        ours = tap.single_tap(torch.tensor([2, 2]))
    with tap_layers(classifier.without_class_map(), "auto") as tap:
        share = tap.forward(x)[:, [4, 0]].softmax(dim=1)
        parts = [tap.single_tap(torch.tensor([output] * 2)).gradient for output in (4, 0)]
    both = sum(share[:, place, None, None, None] * part for place, part in enumerate(parts))
    assert_close(ours.gradient, both, rtol=1e-4, atol=1e-7)


def test_a_method_that_needs_a_linear_head_is_refused_where_a_class_has_several_outputs() -> None:
    single, settings = FIVE.with_class_map([[4], [1], [0]]), {"cam": GRADCAM | {"use": "cam"}}
    bound_method.probe_methods(build_classifier(single), typed_methods(settings))
    with pytest.raises(MethodUndefined, match="a class combines several outputs"):
        bound_method.probe_methods(build_classifier(FIVE.with_class_map(MAP)), typed_methods(settings))


def test_maps_of_maps_are_one_map_and_the_plain_one_is_none() -> None:
    spec = FIVE.with_class_map(MAP)
    assert (spec.n_targets, spec.classes, FIVE.n_targets) == (3, 5, 5)
    assert spec.with_class_map([[2], [0, 1]]).class_map == ((4, 0), (1, 3))
    assert FIVE.with_class_map([[n] for n in range(5)]) == FIVE
    assert FIVE.with_class_map([[n] for n in reversed(range(5))]).class_map == ((4,), (3,), (2,), (1,), (0,))


def test_a_card_keeps_the_map_and_one_from_before_there_were_maps_is_read(
    tmp_path: Path, classifier: Classifier
) -> None:
    weights = checkpoint.save(tmp_path, classifier, {})
    x = torch.rand(2, 1, 32, 32)
    assert_close(checkpoint.load(weights, weights.with_name("card.json"))(x), classifier(x), rtol=0, atol=0)
    old = FIVE.to_json()
    del old["class_map"]
    assert ClassifierSpec.from_json(old) == FIVE


def test_a_file_s_own_head_decides_how_many_outputs_there_are(
    tmp_path: Path, images: ImageStore, predictions: pd.DataFrame
) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(timm.create_model(FIVE.timm, num_classes=5, in_chans=1, output_stride=8).state_dict(), path)

    def taken(**settings: Any) -> ClassifierSpec:
        how = {"probe": fine, "seed": 1, "weights": path, "device": CPU}
        return train_job.train_model(
            TrainSettings(**SETTINGS | settings), images, known(predictions), **how
        ).classifier.spec

    assert taken(class_map=MAP).class_map == MAP
    with pytest.raises(ModelUnusable, match=r"class_map\.malignant: output 5 does not exist; .* has outputs 0 to 4"):
        taken(class_map=((0,), (1,), (2, 5)))
    with pytest.raises(ModelUnusable, match="is not a classifier of 3 classes"):
        taken()
    save_file({"body.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelUnusable, match=r"it has no fc\.weight"):
        taken(class_map=MAP)


def test_a_binary_network_of_timm_has_one_output(tmp_path: Path, images: ImageStore, predictions: pd.DataFrame) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(timm.create_model(FIVE.timm, num_classes=1, in_chans=1, output_stride=8).state_dict(), path)

    def taken(**more: Any) -> Classifier:
        settings = TrainSettings(
            **SETTINGS | {"classes": CLASSES[:2], "spec": SETTINGS["spec"] | {"head": "sigmoid"}} | more
        )
        how = {"probe": fine, "seed": 1, "weights": path, "device": torch.device("cpu")}
        return train_job.train_model(settings, images, known(predictions), **how).classifier

    plain, turned = taken(), taken(class_map=((1,), (0,)))
    noise = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    z = plain.net((noise - plain.mean) / plain.std)
    torch.testing.assert_close(plain(noise).softmax(1)[:, 1], z[:, 0].sigmoid())
    torch.testing.assert_close(turned(noise), plain(noise).flip(1))
    assert (plain.spec.classes, plain.spec.n_targets, turned.spec.n_targets) == (1, 2, 2)


def test_another_study_s_card_is_taken_over_with_its_temperature(tmp_path: Path) -> None:
    model = build_classifier(FIVE, seed=4)
    weights = checkpoint.save(tmp_path / "there", model, {"arch": "net", "seed": 4, "classes": list("abcde")})
    settings = AdoptSettings(external="there", class_map=MAP, classes=CLASSES)
    fitted = pd.DataFrame({"temperature": [1.7, 1.7]})
    card = checkpoint.adopt_card(weights, weights.with_name("card.json"), fitted, settings, fine)
    assert (card["classes"], card["temperature"], card["external"], card["seed"]) == (CLASSES, 1.7, "there", 4)
    checkpoint.write_card(tmp_path / "here/card.json", card)
    own = checkpoint.load(weights, tmp_path / "here/card.json")
    x = torch.rand(2, 1, 32, 32)
    assert_close(own(x), build_classifier(FIVE.with_class_map(MAP), seed=4).eval()(x))
    with pytest.raises(LayerUnusable):
        settings_of = {"early": GRADCAM, "late": GRADCAM | {"layer": "global_pool"}}
        probe = partial(bound_method.probe_methods, settings=typed_methods(settings_of))
        checkpoint.adopt_card(weights, weights.with_name("card.json"), fitted, settings, probe)


def test_a_temperature_of_one_s_own_is_used_and_these_images_have_no_say(
    classifier: Classifier, images: ImageStore, predictions: pd.DataFrame
) -> None:
    found = predict.prediction_table(classifier, images, known(predictions), CLASSES, chunk=7, adopted_temperature=2.5)
    assert set(found["temperature"]) == {2.5}
    logits = classifier.without_class_map()(torch.from_numpy(images.pixels(list(found["image_id"]))).float() / 255)
    warm = (logits[:, [1, 3, 4, 0]].detach().double() / 2.5).softmax(dim=1).numpy()
    calibrated = found[[f"calibrated_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(
        calibrated, np.stack([warm[:, 0], warm[:, 1], warm[:, 2] + warm[:, 3]], axis=1), atol=1e-5
    )
    fitted = predict.prediction_table(classifier, images, known(predictions), CLASSES, chunk=7)
    assert fitted["temperature"].iloc[0] != 2.5


def test_the_temperature_of_mapped_classes_is_the_best_of_a_grid() -> None:
    draw = np.random.default_rng(3)
    outputs, labels = 4 * draw.normal(size=(300, 5)), draw.integers(0, 3, 300)
    grid = np.geomspace(0.1, 10, 2001)
    loss = [-np.log(class_probabilities(outputs, t, ClassMerge(MAP))[np.arange(300), labels]).mean() for t in grid]
    assert fit_temperature(outputs, labels, ClassMerge(MAP)) == pytest.approx(grid[np.argmin(loss)], rel=0.01)
