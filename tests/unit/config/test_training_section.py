"""What a study may say of its training, and of where its weights come from."""

from pathlib import Path
from typing import Any

import pytest
from refused import put, refusal

from gradfaith.config import consistency
from gradfaith.config.sections import KEYS_ADDED_LATER, Recipe, Training
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams


def test_half_precision_and_a_device_that_has_none_are_refused_together(tiny: dict[str, Any], root: Path) -> None:
    half = put(tiny, "training/precision", "fp16")
    assert Plan.read(half, root).study.training != "none"  # on `auto` the job decides
    found = refusal(put(half, "compute", {"device": "cpu"}), root).problem
    assert "training.precision: fp16 needs a CUDA device, but compute.device is cpu; use bf16" in found


def test_tensorboard_is_refused_where_it_is_not_installed(
    tiny: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = put(tiny, "compute", {"tensorboard": True})
    assert Plan.read(asked, root).study.compute.tensorboard
    monkeypatch.setattr(consistency, "find_spec", {}.get)
    found = refusal(asked, root).problem
    assert "compute.tensorboard: the package is not installed here (`pip install tensorboard`)" in found


def test_a_study_can_state_a_pretrained_arm_and_one_from_scratch(tiny: dict[str, Any], root: Path) -> None:
    put(tiny, "training/weights", "pretrained")
    tiny["architectures"] = {
        "resnet50": {},
        "scratch": {"timm": "resnet50", "weights": "none"},
        "own": {"timm": "resnet50", "weights": "resources/mine.pt"},
    }
    plan = Plan.read(tiny, root)
    assert [plan.starting_weights(arch) for arch in plan.architectures] == [
        "resources/weights/resnet50.safetensors", None, "resources/mine.pt",
    ]  # fmt: skip
    one, other, own = (RuleParams(plan).train(arch) for arch in plan.architectures)
    assert one == other == own, "the arms differ in nothing but where they start"
    assert "scratch" in refusal(put(tiny, "training/freeze", 1), root).problem


def test_one_architecture_can_be_pretrained_where_the_others_are_not(tiny: dict[str, Any], root: Path) -> None:
    plan = Plan.read(put(tiny, "architectures/net-a/weights", "pretrained"), root)
    assert plan.starting_weights("net-a") == "resources/weights/test_resnet.r160_in1k.safetensors"
    assert plan.starting_weights("net-b") is None


def test_a_later_key_of_the_recipe_at_its_default_is_as_if_it_were_not_there(tiny: dict[str, Any], root: Path) -> None:
    """Models that were trained before it came would be stale otherwise, and nothing of them has changed."""
    before = RuleParams(Plan.read(tiny, root)).train("net-a")["recipe"]
    assert set(before) == {
        "epochs", "batch", "lr", "weight_decay", "warmup_epochs", "label_smoothing", "class_weights", "group_weights",
        "max_slices_per_group", "flip", "shift", "rotate", "scale", "contrast", "threads",
    }  # fmt: skip
    assert RuleParams(Plan.read(put(tiny, "training/ema", 0.9), root)).train("net-a")["recipe"] == before | {"ema": 0.9}


def test_a_later_key_that_is_left_out_is_read_back_as_it_was_meant() -> None:
    whole = Training(epochs=3)
    written = Recipe(**whole.model_dump(exclude={"weights"})).deciding()
    read = Recipe(**written)
    assert {key: getattr(read, key) for key in KEYS_ADDED_LATER} == {
        key: getattr(whole, key) for key in KEYS_ADDED_LATER
    }
    assert set(read.to_dict()) - {"recipe_version"} == set(whole.model_dump()) - {"weights"}, "each key is in both"


def test_a_warm_up_longer_than_the_training_is_refused(tiny: dict[str, Any], root: Path) -> None:
    tiny["training"] |= {"epochs": 2, "warmup_epochs": 2}
    assert Plan.read(tiny, root).study.training != "none"
    found = refusal(put(tiny, "training/warmup_epochs", 2.5), root).problem
    assert "warmup_epochs: 2.5 of 2 epochs would never reach `lr`; use at most 2" in found
