"""A model comes back from disk as it was, or not at all."""

import pickle

import pytest
import torch

from gradfaith.errors import CannotWrite, ModelUnusable
from gradfaith.models import checkpoint
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier

SPEC = ClassifierSpec(timm="test_resnet", classes=3, channels=1, in_chans=1, size=32, mean=0.4, std=0.25)


@pytest.fixture
def classifier() -> Classifier:
    return build_classifier(SPEC, seed=1).eval()


@pytest.fixture
def weights(tmp_path, classifier):
    return checkpoint.save(tmp_path / "seed-1", classifier, {"seed": 1, "classes": ["a", "b", "c"], "best_epoch": 4})


def test_a_saved_model_answers_as_before(weights, classifier):
    x = torch.rand(2, 1, 32, 32)
    assert torch.equal(checkpoint.load(weights, weights.with_name("card.json"))(x), classifier(x))


def test_the_card_says_what_the_weights_are(weights):
    card = checkpoint.read_card(weights.with_name("card.json"))
    assert card["seed"] == 1
    assert card["classes"] == ["a", "b", "c"]
    assert card["weights_sha256"] == checkpoint.file_sha256(weights)
    assert ClassifierSpec.from_json(card["spec"]) == SPEC
    assert card["versions"]["torch"] == torch.__version__


def test_only_the_two_files_are_left_behind(weights):
    assert sorted(path.name for path in weights.parent.iterdir()) == ["card.json", "weights.safetensors"]


def test_the_same_model_is_the_same_file(weights, classifier, tmp_path):
    again = checkpoint.save(tmp_path / "again", classifier, {"seed": 1})
    assert checkpoint.file_sha256(again) == checkpoint.file_sha256(weights)


def test_truncated_weights_are_refused(weights):
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelUnusable, match="SHA-256"):
        checkpoint.load(weights, weights.with_name("card.json"))


def test_a_pickle_is_refused_even_where_the_card_vouches_for_it(weights):
    weights.write_bytes(pickle.dumps({"weight": 1}))
    card = checkpoint.read_card(weights.with_name("card.json"))
    checkpoint.write_card(weights.with_name("card.json"), card | {"weights_sha256": checkpoint.file_sha256(weights)})
    with pytest.raises(ModelUnusable, match="does not fit"):
        checkpoint.load(weights, weights.with_name("card.json"))


def test_weights_of_another_architecture_are_refused(weights):
    card = checkpoint.read_card(weights.with_name("card.json"))
    card["spec"]["timm"] = "test_vit"
    checkpoint.write_card(weights.with_name("card.json"), card)
    with pytest.raises(ModelUnusable, match="does not fit"):
        checkpoint.load(weights, weights.with_name("card.json"))


@pytest.mark.parametrize("content", ["{}", "[1]", "no json", '{"format": 99, "spec": {}, "weights_sha256": ""}'])
def test_a_foreign_card_is_refused(weights, content):
    weights.with_name("card.json").write_text(content)
    with pytest.raises(ModelUnusable, match=r"card\.json"):
        checkpoint.load(weights, weights.with_name("card.json"))


def test_missing_weights_are_refused(weights):
    weights.unlink()
    with pytest.raises(ModelUnusable, match="cannot be read"):
        checkpoint.load(weights, weights.with_name("card.json"))


def test_a_full_disk_leaves_nothing_half_written(weights, classifier, monkeypatch):
    before = weights.read_bytes(), weights.with_name("card.json").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotWrite, match="No space left"):
        checkpoint.save(weights.parent, classifier, {"seed": 2})
    assert before == (weights.read_bytes(), weights.with_name("card.json").read_bytes())
    assert len(list(weights.parent.iterdir())) == 2
