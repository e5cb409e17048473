"""Images like the training images are near, others far, and images of the same patient do not count."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.training_distance import TrainingFeatures, distances_from_training, head_inputs
from gradfaith.storage.hdf5 import ImageStore, ImageWriter

DRAW = np.random.default_rng(0)


@pytest.fixture(scope="module", params=["test_resnet.r160_in1k", "test_vit.r160_in1k"])
def model(request: pytest.FixtureRequest) -> Classifier:
    options = {"img_size": 32, "patch_size": 8} if "vit" in request.param else {}
    return build_classifier(ClassifierSpec(request.param, 2, 1, 1, 32, 0.5, 0.25, options)).eval()


def noise(count: int) -> np.ndarray:
    return DRAW.integers(90, 160, (count, 1, 32, 32), dtype=np.uint8)


def test_features_are_what_the_last_layer_reads(model: Classifier) -> None:
    images = noise(5)
    features = torch.from_numpy(head_inputs(model, images)).float()
    with torch.no_grad():
        np.testing.assert_allclose(
            model.net.get_classifier()(features), model(torch.from_numpy(images).float() / 255), rtol=1e-4, atol=1e-5
        )


def test_by_hand() -> None:
    """Features with a standard deviation of 1; groups a and b, each of two images."""
    features = np.array([[-1.0], [-1.0], [1.0], [1.0]])
    training = TrainingFeatures(features, np.array(["a", "a", "b", "b"]))
    near, far, own = training.distances(np.array([[0.5], [9.0], [-1.0]]), ["", "", "a"])
    assert (near.value, near.limit, near.far) == (0.5, 2.0, False)
    assert (far.value, far.far) == (8.0, True)
    assert own.value == 2.0  # not 0: an image of its own group does not count


def test_an_image_of_another_kind_is_far_and_one_of_the_same_kind_is_not(model: Classifier, tmp_path: Path) -> None:
    ids = [f"i{number}" for number in range(40)]
    with ImageWriter(tmp_path / "images.h5", ids, [], (1, 32, 32), {}) as writer:
        for row, pixels in enumerate(noise(40)):
            writer.put(row, pixels, {})
        writer.describe(mean=0.5, std=0.2, digest="d")
    table = pd.DataFrame({"image_id": ids, "group": ids, "part": ["train"] * 30 + ["test"] * 10})
    stripes = np.tile(np.array([0, 0, 0, 0, 255, 255, 255, 255], np.uint8), (1, 1, 32, 4))
    with ImageStore(tmp_path / "images.h5") as images:
        same, other = distances_from_training(model, images, table, np.concatenate([noise(1), stripes]), ["", ""])
        assert same is not None
        assert other is not None
        assert not same.far
        assert other.far
        assert other.value > 2 * other.limit
        no_train = table.assign(part="test")
        assert distances_from_training(model, images, no_train, noise(2), ["", ""]) == [None, None]
