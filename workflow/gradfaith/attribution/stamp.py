"""The provenance stamp of a map store: what the maps stand on, so that a number can be traced back to its images and code."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch

from gradfaith.models.checkpoint import read_card
from gradfaith.models.classifier import Classifier
from gradfaith.runtime import device

VERSIONED = ("torch", "timm", "numpy", "h5py")


class Digested(Protocol):
    """Images that say which they are."""

    @property
    def digest(self) -> str: ...


def cell(
    wildcards: Any, settings: Mapping[str, Any], code: str, images: Digested, card: Path, model: Classifier
) -> dict[str, Any]:
    """What a reader checks, and what a reviewer looks up."""
    place = next(model.parameters()).device
    return {
        "arch": wildcards.arch,
        "seed": int(wildcards.seed),
        "bundle": wildcards.bundle,
        "images_digest": images.digest,
        "weights_sha256": read_card(card)["weights_sha256"],
        "settings": dict(settings),
        "code": code,
        "device": device.name(place),
        **settings["passes"],
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED},
    }
