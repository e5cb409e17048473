"""Pretrained weights: fetched once through timm, kept as safetensors, read from there by every training.

Compute nodes of a cluster often have no network, so this is a job of its own and the only one that needs one. What came
is checked before it is kept: every tensor of the network, none of them infinite. A record beside the file says where the
weights come from and what their SHA-256 is; every training looks whether they are still that.

A file of weights, whoever wrote it: safetensors, or a torch file that holds nothing but tensors.

A torch file is a pickle, and a pickle can run code as it is read: only torch's own loader of plain values opens it, and one
that asks for more is refused by the names it asks for. Tensors may lie under `state_dict` or `model`, and their names may
carry the prefix of a wrapper (`module.`, `_orig_mod.`, `net.`), which is taken off where all of them do.

Weights that this workflow fetched have a record beside them (`<name>.json`); they must be what it says.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from gradfaith.errors import ModelUnusable
from gradfaith.models.timm_import import timm
from gradfaith.storage.atomic import replacing, write_text

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


INSIDE = ("state_dict", "model", "model_state_dict")
PREFIXES = ("module.", "_orig_mod.", "net.")
SAFE = b"{"  # in safetensors a JSON header follows its own length


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, under the network's own names."""
    try:
        found: dict[str, Any] = load_file(path) if is_safetensors(path) else _unpickled(path)
    except (OSError, SafetensorError) as error:
        raise _refused(path, str(error).partition("\n")[0] or type(error).__name__) from error
    for key in INSIDE:
        found = found[key] if isinstance(found.get(key), Mapping) else found
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise _refused(path, f"it holds no tensors, but {', '.join(map(str, list(found)[:5])) or 'nothing'}")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == SAFE


def digest(path: Path) -> str:
    """The SHA-256 of a file of weights, which must be that of its record where it has one."""
    found, record = _digest(path, path.stat().st_mtime_ns), path.with_suffix(".json")
    said = _recorded(record)
    if said not in ("", found):
        raise ModelUnusable(
            found=f"{path} has the SHA-256 {found[:16]}..., its record {record} says {said[:16]}...",
            why="The weights were cut off or exchanged after they were fetched.",
            then=f"Delete both files and run `snakemake {path}` where there is a network.",
        )
    return found


def _recorded(record: Path) -> str:
    """The SHA-256 in a record; nothing where there is none, or another's JSON of that name."""
    try:
        about = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(about["sha256"]) if isinstance(about, dict) and {"timm", "sha256"} <= set(about) else ""


@lru_cache(maxsize=4)
def _digest(path: Path, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a file that is none of torch's it raises whatever its parser meets
        asked = _asked(path, error)
        if not asked:
            raise _refused(path, f"{type(error).__name__} {str(error).partition(chr(10))[0]}".strip()) from error
        raise ModelUnusable(
            found=f"{path} is no safetensors file, and as a torch file it asks for more than tensors: {asked}.",
            why="Such a file runs code as it is read, so it is not opened.",
            then="Where you trust it, read it yourself and write `safetensors.torch.save_file(model.state_dict(), ...)`.",
        ) from error
    if not isinstance(found, dict):
        raise _refused(path, f"it holds a {type(found).__name__} and no names")
    return found


def _asked(path: Path, error: Exception) -> str:
    """The names that a pickle would import beyond what tensors need; empty where the fault is another."""
    if not isinstance(error, pickle.UnpicklingError):
        return ""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # torch's old format, of which only the first name is said
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
    return ", ".join(sorted(names))


def _refused(path: Path, said: str) -> ModelUnusable:
    return ModelUnusable(
        found=f"{path} cannot be read as weights: {said}.",
        why="Weights are a safetensors file, or a torch file of named tensors.",
        then="Give such a file, whole.",
    )
