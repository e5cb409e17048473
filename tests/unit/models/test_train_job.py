"""From the study's words to a classifier and its answers: weights as they are, layers probed first, calibrated predictions."""

import gc
import json
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from typed import typed_methods

from gradfaith.attribution import bound_method, cell
from gradfaith.config.job_settings import ExplainSettings, TrainSettings
from gradfaith.config.sections import RECIPE_VERSION, Passes, Recipe
from gradfaith.config.study import ImageSelection
from gradfaith.errors import LayerUnusable, ModelUnusable, OutOfMemory
from gradfaith.models import checkpoint, predict
from gradfaith.models.timm_import import timm
from gradfaith.models.training import train_job
from gradfaith.models.training.loop import TrainedClassifier
from gradfaith.storage.hdf5 import ImageStore

CLASSES = ["normal", "benign", "malignant"]
SETTINGS: dict[str, Any] = {
    "spec": {"timm": "test_resnet.r160_in1k", "in_chans": 1, "options": {"output_stride": 8}},
    "image": {"size": 32, "channels": 1, "mean": "train", "std": 0.5},
    "recipe": None,
    "classes": CLASSES,
}
CPU = torch.device("cpu")
AS_IT_IS = TrainSettings(**SETTINGS)
GRADCAM = {"group": "methods", "use": "gradcam", "layer": "auto", "options": {}, "score": "logit", "shuffled": False}


@pytest.fixture(scope="module")
def images(images_file: Path):
    with ImageStore(images_file) as opened:
        yield opened


def fine(_net: object) -> None:
    """A probe that finds no fault."""


def known(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[["image_id", "group", "label", "part"]]


def test_weights_are_taken_as_they_are(tmp_path: Path, images: ImageStore, predictions: pd.DataFrame) -> None:
    net = timm.create_model("test_resnet.r160_in1k", num_classes=3, in_chans=1, output_stride=8)
    state = {name: value + 0 for name, value in net.state_dict().items()}
    save_file(state, tmp_path / "mine.safetensors")
    taken = train_job.train_model(
        AS_IT_IS, images, known(predictions), probe=fine, seed=1, weights=tmp_path / "mine.safetensors", device=CPU
    )
    own = taken.classifier.state_dict()
    assert own.keys() == {f"net.{name}" for name in state}
    assert all(torch.equal(own[f"net.{name}"], value) for name, value in state.items())
    assert not taken.classifier.training
    card = train_job.model_card(taken, AS_IT_IS, images, SimpleNamespace(arch="net", seed="1"))
    saved = checkpoint.save(tmp_path / "model", taken.classifier, card)
    assert all(torch.equal(load_file(saved)[f"net.{name}"], value) for name, value in state.items())
    again = train_job.train_model(AS_IT_IS, images, known(predictions), probe=fine, seed=1, weights=saved, device=CPU)
    assert all(torch.equal(value, own[name]) for name, value in again.classifier.state_dict().items())
    train_job.write_history(str(tmp_path / "history.csv"), taken)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1
    about = cell.provenance_stamp(
        SimpleNamespace(arch="net", seed="1", bundle="cams"),
        ExplainSettings(
            seed=0,
            classes=CLASSES,
            explain=ImageSelection(),
            passes=Passes(),
            copies=5,
            organ="",
            methods={},
        ),
        "c",
        images,
        tmp_path / "model/card.json",
        taken.classifier,
    )
    assert (about["images_digest"], about["weights_sha256"]) == ("d1", checkpoint.file_sha256(saved))


@pytest.mark.parametrize("fault", ["classes", "network", "missing", "no file", "no safetensors"])
def test_weights_of_something_else_are_refused(tmp_path: Path, images, predictions, fault: str) -> None:
    name = "test_vit.r160_in1k" if fault == "network" else "test_resnet.r160_in1k"
    state = timm.create_model(name, num_classes=4 if fault == "classes" else 3, in_chans=1).state_dict()
    if fault == "missing":
        state.pop("fc.bias" if "fc.bias" in state else next(reversed(state)))
    path = tmp_path / "mine.safetensors"
    if fault == "no safetensors":
        path.write_text("weights")
    elif fault != "no file":
        save_file(state, path)
    with pytest.raises(ModelUnusable, match=r"mine\.safetensors is not a classifier of 3 classes"):
        train_job.train_model(AS_IT_IS, images, known(predictions), probe=fine, seed=1, weights=path, device=CPU)


def test_a_layer_without_maps_is_refused_before_any_training(images: ImageStore, predictions: pd.DataFrame) -> None:
    endless = {"epochs": 10**6, "batch": 8}
    settings = TrainSettings(**SETTINGS | {"recipe": endless})
    with pytest.raises(LayerUnusable):
        train_job.train_model(
            settings,
            images,
            known(predictions),
            probe=partial(
                bound_method.probe_methods,
                settings=typed_methods({"early": GRADCAM, "late": GRADCAM | {"layer": "global_pool"}}),
            ),
            seed=1,
            weights=None,
            device=CPU,
        )


def test_training_out_of_memory_is_refused_with_what_gives_room(
    images: ImageStore, predictions: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    def trained() -> None:
        settings = TrainSettings(**SETTINGS | {"recipe": {"epochs": 1}})
        train_job.train_model(settings, images, known(predictions), probe=fine, seed=1, weights=None, device=CPU)

    monkeypatch.setattr(train_job, "train", full)
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore words.")
    with pytest.raises(
        OutOfMemory, match=r"ran out of memory on .*: CUDA out of memory\. Tried to allocate 2 GiB\.\n"
    ) as refusal:
        trained()
    assert all(word in refusal.value.fix for word in ("training.accumulate", "training.batch", "images: stream"))
    error = RuntimeError("another fault")
    with pytest.raises(RuntimeError, match="another fault"):
        trained()


def test_the_probed_network_is_gone_before_training_begins(
    images: ImageStore, predictions: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[weakref.ref[object]] = []

    def train(*_: Any, **__: Any) -> None:
        gc.collect()
        assert [network() for network in probed] == [None]

    monkeypatch.setattr(train_job, "train", train)
    train_job.train_model(
        TrainSettings(**SETTINGS | {"recipe": {"epochs": 1}}),
        images,
        known(predictions),
        probe=lambda network: probed.append(weakref.ref(network)),
        seed=1,
        weights=None,
        device=CPU,
    )
    assert probed


def test_a_card_holds_the_whole_recipe_with_its_version(classifier, images: ImageStore) -> None:
    recipe = {"epochs": 2, "threads": 3}
    trained = TrainedClassifier(classifier, (), 1)
    card = train_job.model_card(
        trained, TrainSettings(**SETTINGS | {"recipe": recipe}), images, SimpleNamespace(arch="net", seed="1")
    )
    assert card["recipe"] == Recipe(epochs=2, threads=3).to_dict()
    assert card["recipe"]["recipe_version"] == RECIPE_VERSION
    assert card["threads"] == 3
    assert train_job.model_card(trained, AS_IT_IS, images, SimpleNamespace(arch="net", seed="1"))["recipe"] is None


def test_predictions_are_calibrated_without_changing_their_class(
    classifier, images: ImageStore, predictions: pd.DataFrame
) -> None:
    found = predict.prediction_table(classifier, images, known(predictions), CLASSES, chunk=5)
    assert list(found["image_id"]) == list(predictions["image_id"])
    for kind in ("logit", "probability", "calibrated"):
        values = found[[f"{kind}_{name}" for name in CLASSES]].to_numpy()
        assert (np.array(CLASSES)[values.argmax(axis=1)] == found["predicted"]).all()
        if kind != "logit":
            np.testing.assert_allclose(values.sum(axis=1), 1)
    assert (found["correct"] == (found["predicted"] == found["label"])).all()
    assert (found["seconds"] > 0).all()


def test_everything_that_decides_the_weights_decides_whether_a_training_goes_on(
    tmp_path: Path, images: ImageStore, predictions: pd.DataFrame
) -> None:
    def decides(settings: dict[str, Any] | None = None, seed: int = 1, **words: Any) -> str:
        how = {"table": known(predictions), "weights": None} | words
        own = TrainSettings(**SETTINGS | {"recipe": {"epochs": 2}} | (settings or {}))
        found = train_job.training_identity(own, images, how["table"], seed=seed, weights=how["weights"])
        return json.dumps(found, sort_keys=True)

    start, moved = tmp_path / "w.safetensors", known(predictions)
    save_file({"w": torch.zeros(2)}, start)
    moved.loc[0, "part"] = "val"
    others = {
        "recipe": decides({"recipe": {"epochs": 2, "ema": 0.9}}),
        "spec": decides({"spec": SETTINGS["spec"] | {"in_chans": 3}}),
        "normalisation": decides({"image": SETTINGS["image"] | {"std": 0.4}}),
        "seed": decides(seed=2),
        "split": decides(table=moved),
        "weights": decides(weights=start),
        "order of the classes": decides({"classes": CLASSES[::-1]}),
    }
    save_file({"w": torch.ones(2)}, tmp_path / "v.safetensors")
    others["other weights"] = decides(weights=tmp_path / "v.safetensors")
    assert len({decides(), *others.values()}) == 1 + len(others)
    assert decides() == decides({"recipe": {"epochs": 2, "ema": 0.0}}), "a default that is said is one"
    assert '"recipe_version": ' in decides()
    assert f'"images": "{images.digest}"' in decides()
