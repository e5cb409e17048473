"""A file of weights, whoever wrote it: safetensors, or a torch file that holds nothing but tensors.

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
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gradfaith.errors import ModelUnusable

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
