"""Fetching weights from a hub on this very machine: what comes is checked, kept and recorded; what does not come is said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hub import NAME, Hub
from safetensors.torch import load_file, save

from gradfaith.errors import FetchFailed, ModelUnusable, SourceInvalid
from gradfaith.models import weight_file
from gradfaith.models.timm_import import timm

FETCH = """
import sys
from pathlib import Path
from gradfaith.errors import GradFaithError
from gradfaith.models.weight_file import fetch_pretrained
try:
    fetch_pretrained(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[2]).with_suffix(".json"))
except GradFaithError as refusal:
    sys.exit(f"{refusal}\\nretry: {refusal.retry}")
"""


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {name: value.contiguous() for name, value in timm.create_model(NAME).state_dict().items()}


@pytest.fixture
def hub(state: dict[str, torch.Tensor]) -> Iterator[Hub]:
    with Hub(save(state)) as server:
        yield server


def fetch(folder: Path, endpoint: str, offline: str = "0", name: str = NAME) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's address is read when its client is imported."""
    command = [sys.executable, "-c", FETCH, name, str(folder / "w.safetensors")]
    told = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": offline,
    }
    return subprocess.run(command, env=os.environ | told, capture_output=True, text=True, timeout=120)


def test_what_a_hub_gives_is_kept_with_a_record(tmp_path: Path, hub: Hub, state: dict[str, torch.Tensor]) -> None:
    done = fetch(tmp_path, hub.endpoint)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "w.safetensors"
    kept = load_file(path)
    assert all(torch.equal(kept[name], value) for name, value in state.items())
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == weight_file.checked_sha256(path)
    assert record["source"]["hf_hub_id"] == f"timm/{NAME}"
    assert record["bytes"] == path.stat().st_size
    assert not list(tmp_path.glob(".*.tmp"))


def test_without_a_network_it_is_said_what_to_do(tmp_path: Path, hub: Hub) -> None:
    done = fetch(tmp_path, hub.endpoint, offline="1")
    assert done.returncode == 1
    assert f"FetchFailed: pretrained weights of {NAME} could not be fetched: " in done.stderr
    assert "on a machine with internet access" in done.stderr
    assert done.stderr.endswith("retry: True\n")
    assert not list(tmp_path.glob("w.*"))


def test_weights_that_the_hub_does_not_have_are_asked_for_once(tmp_path: Path, hub: Hub) -> None:
    done = fetch(tmp_path, hub.endpoint, name="test_vit.r160_in1k")
    assert done.returncode == 1
    assert "SourceInvalid: pretrained weights of test_vit.r160_in1k could not be fetched: " in done.stderr
    assert done.stderr.endswith("retry: False\n")
    assert not list(tmp_path.glob("w.*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18.a1_in1", 'and none is "a1_in1"; did you mean "a1_in1k"?'),
        ("resnet10tt", 'there is no architecture "resnet10tt"; did you mean "resnet10t"?'),
        ("botnet50ts_256", 'there are no weights of "botnet50ts_256"'),
    ],
)
def test_weights_that_timm_does_not_name_are_not_fetched_again(tmp_path: Path, name: str, words: str) -> None:
    """They were FetchFailed, so Snakemake tried three times."""
    with pytest.raises(SourceInvalid) as caught:
        weight_file.fetch_pretrained(name, tmp_path / "w.safetensors", tmp_path / "w.json")
    assert words in caught.value.problem
    assert not caught.value.retry
    assert not list(tmp_path.iterdir())


def test_a_file_that_lacks_tensors_or_holds_infinite_ones_is_not_kept(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def comes(state: dict[str, torch.Tensor]) -> None:
        given = partial(create, pretrained_cfg_overlay={"state_dict": state})
        monkeypatch.setattr(timm, "create_model", given)

    path, create = tmp_path / "w.safetensors", timm.create_model
    wrong = state | {"fc.bias": torch.full_like(state["fc.bias"], torch.inf)}
    comes(wrong)
    with pytest.raises(ModelUnusable, match=r"contain NaN or infinity, in fc\.bias"):
        weight_file.fetch_pretrained(NAME, path, tmp_path / "w.json")
    short = {name: value for name, value in state.items() if not name.startswith("layer4")}
    comes(short)
    with pytest.raises(FetchFailed, match="could not be fetched: Error"):
        weight_file.fetch_pretrained(NAME, path, tmp_path / "w.json")
    assert not list(tmp_path.iterdir())
