"""Pretrained weights: fetched once through timm, kept as safetensors, read from there by every training.

Compute nodes of a cluster often have no network, so this is a job of its own and the only one that needs one. What came
is checked before it is kept: every tensor of the network, none of them infinite. A record beside the file says where the
weights come from and what their SHA-256 is; every training looks whether they are still that.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from gradfaith.atomic import replacing, write_text
from gradfaith.errors import ModelUnusable
from gradfaith.models.vision import timm

SOURCES = ("hf_hub_id", "url", "tag", "license")


def fetch(name: str, path: Path, record: Path) -> None:
    """Write timm's pretrained weights of an architecture to `path`, and what they are to `record`."""
    try:
        net = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub raises a dozen kinds, and all mean the same here
        raise ModelUnusable(
            found=f"pretrained weights of {name} could not be fetched: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            why="They come from a hub on the network, and this machine did not get them.",
            then=f"Run `snakemake {path}` where there is a network and copy {path.parent}/, or set `training.weights: none`.",
        ) from error
    _check(name, net)
    content = save({key: value.contiguous() for key, value in net.state_dict().items()})
    with replacing(path) as draft:
        draft.write_bytes(content)
    about = {
        "timm": name,
        "source": {key: net.pretrained_cfg.get(key) for key in SOURCES},
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "versions": {package: version(package) for package in ("timm", "torch", "safetensors")},
    }
    write_text(record, json.dumps(about, indent=2, sort_keys=True) + "\n")


def _check(name: str, net: nn.Module) -> None:
    broken = [
        key for key, value in net.state_dict().items() if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if broken:
        raise ModelUnusable(
            found=f"the pretrained weights of {name} hold numbers that are not finite, in {', '.join(broken[:3])}.",
            why="No training mends them.",
            then="Fetch again; if it stays so, choose other weights of this architecture (timm's name with another tag).",
        )
