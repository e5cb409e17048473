"""`gradfaith check` finds before a run what would stop it, all of it at once, and says what is there."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gradfaith.cli import main
from gradfaith.cli.study_check import StudyFindings, check_study

CARD = {
    "title": "mine", "reader": "folder", "raw": "raw", "classes": ["healthy", "ill"], "evidence": "mask", "licence": "mine",
    "groups": {"pattern": r"^(?P<patient>p\d+)"},
}  # fmt: skip
STUDY = {
    "study": "mine", "dataset": {"name": "mine"}, "image": {"size": 64}, "seeds": [0], "training": {"epochs": 2},
    "architectures": {"small": {"timm": "test_resnet.r160_in1k"}}, "bundles": {"cams": {"methods": ["gradcam", "layercam"]}},
    "localization": ["saliency_score"],
    "primary": {"metric": "saliency_score", "method": "gradcam", "against": "random-grid"},
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a study of ten patients of two images, each ill one with a mask."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").touch()
    for place in ("config/datasets", "config/studies"):
        (tmp_path / place).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(20):
        label = "ill" if number % 4 > 1 else "healthy"
        for place in (f"raw/{label}", *(["raw/masks/ill"] if label == "ill" else [])):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(1, 255, (20, 30), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"p{number // 2}_{number}.png")
    write(tmp_path)
    return tmp_path


def write(home: Path, card: dict[str, Any] | None = None, **study: Any) -> None:
    (home / "config/datasets/mine.yaml").write_text(yaml.safe_dump(CARD | (card or {})))
    kept = {key: value for key, value in (STUDY | study).items() if value is not None}
    (home / "config/studies/mine.yaml").write_text(yaml.safe_dump(kept))


def problems(home: Path, *, fast: bool = True) -> list[str]:
    return list(map(str, check_study("mine", home, fast=fast).problems))


def found(home: Path, *, fast: bool = True) -> dict[str, str]:
    return dict(check_study("mine", home, fast=fast).rows)


def test_groups_are_called_what_they_are(root: Path) -> None:
    rows = dict(check_study("photographs", root, fast=True).rows)
    assert rows["photographs"] == "3 photographs"
    assert rows["class cat"] == "4 images, 1 photograph, none with evidence"


def test_a_sound_study_is_described(home: Path) -> None:
    findings: StudyFindings = check_study("mine", home, fast=False)
    assert findings.problems == []
    rows = dict(findings.rows)
    assert rows["raw folder"] == "raw: 30 files"
    assert rows["class healthy"] == "10 images, 5 patients, none with evidence"
    assert rows["class ill"] == "10 images, 5 patients, 10 with evidence (mask)"
    assert rows["patients"] == r"10 patients, by groups.pattern ^(?P<patient>p\d+)"
    assert rows["images"] == "20 png; 20 of 20 decoded as a sample: 30 x 20 pixels"
    assert rows["split"] == "by group: 12 train, 4 val, 4 test images"
    assert rows["network small"].startswith("test_resnet.r160_in1k, 0.4 million weights, layer layer4; 8 of 8 methods")


def test_all_problems_are_listed_and_the_exit_status_is_1(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, {"raw": "rawe"}, seeds=[-1, 0], architectures={"a": {"timm": "resnet10tt"}, "b": {"weights": "no.pth"}})
    monkeypatch.setattr(sys, "argv", ["gradfaith", "check", "mine"])
    with pytest.raises(SystemExit) as end:
        main.main()
    for words in (
        "seeds.0: Input should be greater than or equal to 0, found -1",
        'the raw folder rawe is not there; did you mean "raw"?',
        "architectures.a: timm",
        "Similar names: resnet10t",
        "architectures.b.weights: there is no file no.pth",
    ):
        assert words in str(end.value)
    assert "no problem found" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"raw": "/data/nope"}, "the raw folder /data/nope is not there"),
        ({"classes": ["healthy", "sick"]}, "no image of class sick and there are images of class ill"),
        ({"evidence": "box"}, "has `evidence: box`, but the images have mask"),
        ({"groups": None}, "20 of 20 images have no patient"),
        ({"groups": {"pattern": "(?P<patient>q)"}}, "finds no patient in 20 of 20 file names"),
        ({"groups": {"pattern": "^(?P<patient>p)"}}, "too few independent groups"),
        ({"reader": "foldr"}, 'did you mean "folder"'),
    ],
)
def test_a_dataset_that_would_stop_the_run_is_a_problem(home: Path, card: dict[str, Any], words: str) -> None:
    write(home, card)
    assert any(words in problem for problem in problems(home))


def test_damaged_images_and_masks_of_another_size_are_all_named(home: Path) -> None:
    (home / "raw/healthy/p0_0.png").write_bytes(b"no image")
    Image.fromarray(np.ones((20, 31), np.uint8)).save(home / "raw/masks/ill/p1_2.png")
    said = problems(home)
    assert any("raw/healthy/p0_0.png cannot be read" in problem for problem in said)
    assert any('mask of "p1_2.png" is 31 x 20 pixels, but its image is 30 x 20' in problem for problem in said)


def test_networks_are_built_and_methods_probed_unless_fast(home: Path) -> None:
    write(
        home,
        architectures={
            "resnet": {"timm": "test_resnet.r160_in1k", "layer": "layr4"},
            "vit": {"timm": "test_vit.r160_in1k", "options": {"img_size": 64, "patch_size": 8}},
        },
        bundles={"cams": {"methods": ["gradcam", "cam"]}},
    )  # fmt: skip
    assert problems(home) == []
    layer, method = problems(home, fast=False)
    assert 'architectures.resnet: ResNet has no layer "layr4"' in layer
    assert "layer4" in layer
    assert 'architectures.vit: "cam" is not defined' in method


@pytest.mark.parametrize(
    ("moves", "words"),
    [
        ({"healthy": "train/healthy", "ill": "train/ill"}, ("one folder, train", "Set `raw: raw/train`")),
        ({"healthy": "inner/healthy", "ill": "inner/ill"}, ("one folder, inner", "Set `raw: raw/inner`")),
        (
            {"healthy": "Train/healthy", "ill": "test/healthy"},
            ("the folders Train, test", "cp -Rn raw/Train/. raw/test/."),
        ),
    ],
)
def test_class_folders_one_level_down_are_recognised(home: Path, moves: dict[str, str], words: tuple[str, ...]) -> None:
    (home / "raw/masks").rename(home / "masks")
    for old, new in moves.items():
        (home / "raw" / new).parent.mkdir(exist_ok=True)
        (home / "raw" / old).rename(home / "raw" / new)
    (said,) = problems(home)
    assert all(word in said for word in words), said


def test_dicom_files_are_named_as_such(home: Path) -> None:
    (home / "raw/ill/scan.DCM").write_bytes(b"\0" * 128 + b"DICM")
    (said,) = problems(home)
    assert '"ill/scan.DCM" in raw is not an image; it is a DICOM file' in said
    assert "Export DICOM images to 8-bit PNG" in said


def test_images_that_rule_fetch_gets_are_no_problem(home: Path) -> None:
    write(home, {"raw": None, "sources": [{"url": "https://example.org/a.zip"}, {"manual": "ask"}]})
    assert problems(home) == []
    assert found(home)["raw folder"] == (
        "resources/mine/raw is not there yet; rule fetch gets it from: url https://example.org/a.zip; by hand"
    )


def test_a_private_dataset_keeps_its_names_and_gets_no_key(home: Path) -> None:
    (home / "raw/healthy/p0_0.png").write_bytes(b"no image")
    write(home, {"private": True})
    (said,) = problems(home)
    assert "cannot be read" in said
    assert "p0_0" not in said
    assert not (home / "resources").exists()


def test_pretrained_weights_that_are_not_there_yet_are_no_problem(home: Path) -> None:
    write(home, architectures={"resnet18": {"weights": "pretrained"}})
    assert problems(home) == []
    assert found(home)["weights resnet18"].startswith("resources/weights/resnet18.safetensors is not there yet")
    (home / "resources/weights").mkdir(parents=True)
    (home / "resources/weights/resnet18.safetensors").touch()
    assert found(home)["weights resnet18"] == "resources/weights/resnet18.safetensors"
