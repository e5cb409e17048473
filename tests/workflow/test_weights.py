"""Pretrained weights in a real run: fetched once, recorded, and read from there when the network is gone; a second arm starts from none."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from hub import NAME, Hub
from safetensors.torch import load_file, save
from workspace import TINY, Workspace

from gradfaith.models import weight_file
from gradfaith.models.timm_import import timm

pytestmark = pytest.mark.end_to_end

ARMS = {
    "tuned": {"timm": "test_resnet.r160_in1k"},
    "scratch": {"timm": "test_resnet.r160_in1k", "weights": "none"},
}


def test_two_arms_differ_in_where_they_start(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    study = yaml.safe_load((fresh.folder / TINY).read_text()) | {"architectures": ARMS}
    study["training"] |= {"weights": "pretrained", "lr": 1e-8}
    (fresh.folder / TINY).write_text(yaml.safe_dump(study))
    fetched = f"resources/weights/{NAME}.safetensors"
    torch.manual_seed(3)
    state = {name: value.contiguous() for name, value in timm.create_model(NAME).state_dict().items()}
    with Hub(save(state)) as hub:
        told = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(fresh.folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        fresh.snakemake(fetched)
    record = json.loads((fresh.folder / fetched).with_suffix(".json").read_text())
    assert record["sha256"] == weight_file.checked_sha256(fresh.folder / fetched)
    assert not (fresh.folder / fetched).stat().st_mode & 0o222, "a fetched file is protected"
    models = [Path(f"results/tiny/models/{arm}/seed-0") for arm in ARMS]
    fresh.snakemake(*(f"{model}/weights.safetensors" for model in models))  # the hub is closed
    cards = [json.loads((fresh.folder / model / "card.json").read_text()) for model in models]
    assert cards[0]["started_from"] == {"file": fetched, "sha256": record["sha256"]}
    assert cards[1]["started_from"] is None
    tuned, scratch = (load_file(fresh.folder / model / "weights.safetensors") for model in models)
    name = "layer4.0.conv1.weight"  # hardly moved at that learning rate
    torch.testing.assert_close(tuned[f"net.{name}"], state[name], atol=1e-4, rtol=0)
    assert not torch.allclose(scratch[f"net.{name}"], state[name], atol=1e-2)
