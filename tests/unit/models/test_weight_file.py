"""Files of weights: safetensors and torch's own give the same tensors, and no file runs code as it is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_classifier import spec
from torch import Tensor

from gradfaith.errors import ModelUnusable
from gradfaith.models import weight_file
from gradfaith.models.classifier import build_classifier
from gradfaith.models.timm_import import timm


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(7)
    found: dict[str, Tensor] = timm.create_model("resnet10t").state_dict()
    return found


class Harm:
    """A pickle of it would make a file as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


WRAPPED: dict[str, Any] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}},
    "model": lambda state: {"model": state},
    "data parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled": lambda state: {"state_dict": {f"_orig_mod.net.{name}": value for name, value in state.items()}},
}


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize("old", [False, True])
def test_a_torch_file_is_read_however_it_is_wrapped(
    tmp_path: Path, state: dict[str, Tensor], how: str, old: bool
) -> None:
    torch.save(WRAPPED[how](state), tmp_path / "w.pt", _use_new_zipfile_serialization=not old)
    found = weight_file.read_weights(tmp_path / "w.pt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_training_starts_from_either_kind_with_the_same_bits(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    one, other = (
        build_classifier(spec(in_chans=1), seed=2, weights=tmp_path / name) for name in ("w.safetensors", "w.pth")
    )
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert torch.allclose(one.net.state_dict()["conv1.0.weight"], state["conv1.0.weight"].sum(dim=1, keepdim=True))
    assert "state_dict" not in one.net.pretrained_cfg  # type: ignore[operator]


def test_weights_of_this_workflow_are_read_too(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file({f"net.{name}": value for name, value in state.items()}, tmp_path / "w.safetensors")
    assert weight_file.read_weights(tmp_path / "w.safetensors").keys() == state.keys()


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_asks_for_more_is_refused_by_name_and_not_run(tmp_path: Path, old: bool) -> None:
    harmed = tmp_path / "harmed"
    torch.save({"w": torch.zeros(1), "x": Harm(harmed)}, tmp_path / "w.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(ModelUnusable, match=r"contains Python objects besides tensors: .*(pathlib|getattr)") as refusal:
        weight_file.read_weights(tmp_path / "w.pt")
    assert "can run code" in refusal.value.reason
    assert "save_file" in refusal.value.fix
    assert not harmed.exists()


@pytest.mark.parametrize("kind", ["a list", "no tensors", "text", "nothing", "cut safetensors", "cut torch", "missing"])
def test_what_holds_no_weights_is_refused_by_its_name(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    path = tmp_path / "w.file"
    if kind == "a list":
        torch.save([torch.zeros(1)], path)
    elif kind == "no tensors":
        torch.save({"epoch": 3}, path)
    elif kind == "cut safetensors":
        save_file(state, path)
        path.write_bytes(path.read_bytes()[:-9])
    elif kind == "cut torch":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-900])
    elif kind != "missing":
        path.write_bytes(b"some text, no weights" if kind == "text" else b"")
    with pytest.raises(ModelUnusable, match=r"w\.file "):
        weight_file.read_weights(path)


def test_a_mismatch_lists_what_is_missing_and_what_is_too_many(tmp_path: Path, state: dict[str, Tensor]) -> None:
    other = {name.replace("layer3", "stage3"): value for name, value in state.items()}
    save_file(other, tmp_path / "w.safetensors")
    with pytest.raises(ModelUnusable) as refusal:
        build_classifier(spec(), weights=tmp_path / "w.safetensors")
    assert "lacks weights of the network: layer3.0.conv1.weight, " in refusal.value.problem
    assert "and has others: stage3.0.bn1.bias, " in refusal.value.problem


def test_a_record_beside_the_file_is_believed_only_while_it_is_true(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    digest = weight_file.checked_sha256(path)
    for text in ("[1]", "no json", '{"epochs": 3}', json.dumps({"timm": "resnet10t", "sha256": digest})):
        path.with_suffix(".json").write_text(text)  # three that speak of something else, and one that is true
        assert weight_file.checked_sha256(path) == digest
    path.with_suffix(".json").write_text(json.dumps({"timm": "resnet10t", "sha256": "0" * 64}))
    with pytest.raises(ModelUnusable, match=r"its record .* states 0000000000000000"):
        weight_file.checked_sha256(path)
