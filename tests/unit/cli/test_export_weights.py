"""`gradfaith export-weights`: a file that others can check, and that gives the same predictions where it is loaded."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_networks import make

from gradfaith.cli.main import main
from gradfaith.errors import ModelUnusable
from gradfaith.models import checkpoint, weight_file
from gradfaith.models.classifier import ClassifierSpec, build_classifier, probe_images
from gradfaith.models.training.train_job import _load_unchanged

ROOT = Path(__file__).parents[3]
MODEL = "results/tiny/models/net-a/seed-0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Snakefile").touch()
    (tmp_path / "config/datasets").mkdir(parents=True)
    shutil.copy(ROOT / "config/datasets/phantom.yaml", tmp_path / "config/datasets")
    study = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    study |= {"architectures": {"net-a": study["architectures"]["net-a"]}, "seeds": [0], "agreement": []}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study))
    classifier = make("resnet10t", 64)
    card = {"arch": "net-a", "seed": 0, "classes": ["normal", "benign", "malignant"], "parameters": 1}
    checkpoint.save(tmp_path / MODEL, classifier, card)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gradfaith", "export-weights", "tiny.yaml", "--folder", "published"])
    return tmp_path


def test_an_exported_file_gives_the_same_predictions_bit_for_bit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    file = folder / "published/net-a-seed-0.safetensors"
    record = json.loads(file.with_suffix(".json").read_text())
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest() == weight_file.checked_sha256(file)
    assert (folder / "published/SHA256SUMS").read_text() == f"{record['sha256']}  {file.name}\n"
    trained = checkpoint.load(folder / MODEL / "weights.safetensors", folder / MODEL / "card.json")
    spec = ClassifierSpec(
        timm=record["timm"], classes=len(record["classes"]), options=record["options"],
        **{key: record[key] for key in ("channels", "in_chans", "size", "mean", "std")},
    )  # fmt: skip
    loaded, images = _load_unchanged(spec, file).classifier, probe_images(trained)
    with torch.no_grad():
        assert torch.equal(loaded(images), trained(images))
        assert not torch.equal(build_classifier(spec, seed=0).eval()(images), trained(images))
    assert f"weights: {file}" in capsys.readouterr().out


def test_a_changed_byte_is_refused(folder: Path) -> None:
    main()
    file = folder / "published/net-a-seed-0.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ModelUnusable, match="but its record"):
        weight_file.checked_sha256(file)


def test_nothing_is_replaced_and_untrained_models_are_named(folder: Path) -> None:
    (folder / "published").mkdir()
    with pytest.raises(SystemExit, match="published exists"):
        main()
    (folder / "published").rmdir()
    (folder / MODEL / "weights.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"1 files of models are missing, for instance results/tiny/models/net-a"):
        main()
