"""The first hour of a new user, from a checkout without results: init, check, run, explain, with the commands themselves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from workspace import plant

from gradfaith.storage.hdf5 import MapStore

pytestmark = pytest.mark.end_to_end
DRAW = np.random.default_rng(0)


def picture(label: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a 16-bit image with eight soft spots, and where its bright square is; a healthy image has none."""
    down, right = np.mgrid[:64, :80]
    pixels, mask = DRAW.normal(1500, 150, (64, 80)), np.zeros((64, 80), dtype=bool)
    for _ in range(8):  # so that the nearest neighbour does not know the class, and the split is not called leaky
        squared = (down - DRAW.integers(0, 64)) ** 2 + (right - DRAW.integers(0, 80)) ** 2
        pixels += DRAW.choice([-900, 900]) * np.exp(-squared / (2 * DRAW.uniform(5, 12) ** 2))
    if label == "ill":
        top, left = DRAW.integers(0, 50), DRAW.integers(0, 66)
        mask[top : top + 14, left : left + 14] = True
        pixels[mask] += 1200
    return np.clip(pixels, 0, 4095).astype(np.uint16), mask


def draw_images(folder: Path) -> None:
    """Write 60 8-bit images of two classes without any id, masks in another folder, and a 16-bit image."""
    for number in range(60):
        label = "ill" if number % 2 else "healthy"
        pixels, mask = picture(label)
        for place, shown in (("images", pixels / 4096 * 255), ("masks", mask * 255)):
            if place == "masks" and label == "healthy":
                continue
            path = folder / place / label / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown.astype(np.uint8)).save(path)
            if number < 6 and place == "images":
                (folder / "few").mkdir(exist_ok=True)
                Image.fromarray(shown.astype(np.uint8)).save(folder / "few" / path.name)
    Image.fromarray(picture("ill")[0]).save(folder / "deep.png")


def test_a_new_user_comes_from_a_folder_of_images_to_maps(tmp_path: Path) -> None:
    space = plant(tmp_path / "gradfaith")
    draw_images(tmp_path)

    def gradfaith(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gradfaith.cli.main", *words],
            cwd=space.folder,
            env=space.environment | {"PYTHONPATH": str(space.folder / "workflow")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout

    said = gradfaith("init", "--images", "../images", "--masks", "../masks", "--name", "mine")
    assert "class ill      30 images, 30 with evidence (mask)" in said
    said = gradfaith("check", "mine")
    assert "methods and controls have maps" in said
    assert "no problem found" in said

    said = gradfaith("run", "mine")
    assert "Classification, mine" in said
    scores = pd.read_parquet(space.folder / "results/mine/scores.parquet")
    assert set(scores["method"]) >= {"gradcam", "layercam", "random-grid"}
    manifest = pd.read_parquet(space.folder / "results/mine/data/manifest.parquet")
    assert set(manifest["group_kind"]) == {"inferred"}

    of = ("--study", "mine", "--arch", "resnet", "--seed", "0", "--methods", "gradcam", "random")
    seen = manifest.loc[manifest["label"] == "ill", "image_id"].iloc[0]
    assert "saliency_score: " in gradfaith("explain", "--image", seen, *of)
    assert "black is 1000 and white 3000" in gradfaith(
        "explain", "--image", "../deep.png", "--window", "1000", "3000", *of
    )
    assert "6 images explained" in gradfaith("explain", "--image", "../few", "--out", "maps", *of)
    stores = sorted(space.folder.glob("maps/*/maps.h5"))
    assert [path.parent.name for path in stores[:3]] == ["00", "01", "02"]
    with MapStore(stores[0]) as maps:
        assert set(maps.methods) == {"gradcam", "random"}
    card = yaml.safe_load((space.folder / "config/datasets/mine.yaml").read_text())
    assert card["groups"] == {"cues": ["order", "duplicates"]}
