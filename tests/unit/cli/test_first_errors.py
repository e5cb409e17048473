"""What a newcomer gets wrong: each message names the problem, the reason and the fix, and none is a traceback.

Few of the cases build a network, because one takes a second.
"""

import ast
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gradfaith.cli import main
from gradfaith.registry import PACKAGE

CARD = {
    "title": "mine", "reader": "folder", "raw": "raw", "classes": ["healthy", "ill"], "evidence": "mask", "licence": "mine",
    "groups": {"pattern": r"^(?P<patient>p\d+)_"},
}  # fmt: skip
STUDY: dict[str, Any] = {
    "study": "mine", "dataset": {"name": "mine"}, "image": {"size": 64}, "seeds": [0], "training": {"epochs": 2},
    "architectures": {"small": {"timm": "test_resnet.r160_in1k"}}, "bundles": {"cams": {"methods": ["gradcam", "layercam"]}},
    "localization": ["saliency_score"], "batteries": {"masking": {"metrics": ["faith"], "imputers": ["black"]}},
    "primary": {"metric": "saliency_score", "method": "gradcam", "against": "random-grid"}, "figures": ["panels"],
}  # fmt: skip
DRAW = np.random.default_rng(0)
Change = Callable[[Path], object]


def put(path: str, size: tuple[int, int] = (20, 24), kind: type = np.uint8) -> Change:
    """Return a change that writes an image."""

    def write(home: Path) -> None:
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DRAW.integers(1, 255, size).astype(kind)).save(home / path)

    return write


def text(path: str, words: str) -> Change:
    return lambda home: (home / path).write_text(words)


def move(old: str, new: str) -> Change:
    def rename(home: Path) -> None:
        (home / new).parent.mkdir(parents=True, exist_ok=True)
        (home / old).rename(home / new)

    return rename


def both(*changes: Change) -> Change:
    return lambda home: [change(home) for change in changes]


@dataclass(frozen=True)
class Wrong:
    """One wrong input, and words of its message."""

    name: str
    words: str
    argv: str = "check --fast mine"
    study: dict[str, Any] = field(default_factory=dict)  # keys that replace those of the sound study
    card: dict[str, Any] = field(default_factory=dict)
    change: Change = lambda _home: None
    where: str = "."


SHALLOW = both(move("raw/healthy/p0_0.png", "flat/p0_0.png"), move("raw/ill/p1_1.png", "flat/p1_1.png"))
PARTS = both(
    move("raw/masks", "masks"), move("raw/healthy", "raw/train/healthy"), move("raw/ill", "raw/train/ill"),
    put("raw/test/ill/p99_0.png"),
)  # fmt: skip
BY_FILE = "check --fast config/studies/mine.yaml"
WRONG = [
    # names in the study's file
    Wrong("timm name", "Similar names: resnet10t", "check mine", {"architectures": {"a": {"timm": "resnet10tt"}}}),
    Wrong("method", 'did you mean "gradcam"', study={"bundles": {"cams": {"methods": ["gradcm"]}}}),
    Wrong("method in a label", 'did you mean "gradcam"', study={"bundles": {"cams": {"methods": {"a": {"use": "Grad-CAM"}}}}}),
    Wrong("localization metric", 'did you mean "saliency_score"', study={"localization": ["salience_score"]}),
    Wrong("faithfulness metric", 'did you mean "faith"', study={"batteries": {"m": {"metrics": ["fait"], "imputers": ["black"]}}}),
    Wrong("imputer", 'did you mean "black"', study={"batteries": {"m": {"metrics": ["faith"], "imputers": ["blak"]}}}),
    Wrong("figure", 'did you mean "panels"', study={"figures": ["panel"]}),
    Wrong("primary method", 'did you mean "gradcam"', study={"primary": STUDY["primary"] | {"method": "gradcamm"}}),
    Wrong("primary control", 'did you mean "random-grid"', study={"primary": STUDY["primary"] | {"against": "randomgrid"}}),
    Wrong("key", 'did you mean "training"', study={"trainin": {"epochs": 2}}),
    Wrong("nested key", 'training.epoch: unknown key; did you mean "epochs"', study={"training": {"epoch": 2}}),
    Wrong("option", 'did you mean "channels"', card={"options": {"chanels": 3}}),
    Wrong("dataset", 'did you mean "mine"', study={"dataset": {"name": "mien"}}),
    Wrong("reader", 'did you mean "folder"', card={"reader": "foldr"}),
    # values
    Wrong("negative seed", "seeds.0: Input should be greater than or equal to 0, found -1", study={"seeds": [-1, 0]}),
    Wrong("seeds as text", "seeds: Input should be a valid list", study={"seeds": "0, 1"}),
    Wrong("shares of the split", "must add up to 1, found 1.2", study={"split": {"train": 0.8}}),
    Wrong("name with blanks", "study: a name has small letters, digits, - and _ only, found 'My Study'", BY_FILE, {"study": "My Study"}),
    Wrong("kind of evidence", "evidence: Input should be", card={"evidence": "masks"}),
    Wrong("layer", "Did you mean layer4", "check mine", {"architectures": {"a": {"timm": "test_resnet.r160_in1k", "layer": "layr4"}}}),
    Wrong("method without a map", '"cam" is not defined', "check mine", {
        "architectures": {"vit": {"timm": "test_vit.r160_in1k", "options": {"img_size": 64, "patch_size": 8}}},
        "bundles": {"cams": {"methods": ["gradcam", "cam"]}}}),
    Wrong("weight file", "there is no file no.pth", study={"architectures": {"a": {"timm": "resnet10t", "weights": "no.pth"}}}),
    # files of the study
    Wrong("file", "there is no file nofile.yaml", "check --fast nofile.yaml"),
    Wrong("study", 'did you mean "mine"', "check --fast mnie"),
    Wrong("YAML", "cannot be read", BY_FILE, change=text("config/studies/mine.yaml", "study: mine\n\tseeds: [0]\n")),
    Wrong("key twice", "the key seeds", BY_FILE, change=text("config/studies/mine.yaml", "study: mine\nseeds: [0]\nseeds: [1]\n")),
    Wrong("outside the project", "has no Snakefile", "check --fast", where="elsewhere"),
    # the raw folder
    Wrong("raw folder", "the raw folder /data/nope is not there", card={"raw": "/data/nope"}),
    Wrong("raw folder, nearly", 'did you mean "raw"', card={"raw": "rawe"}),
    Wrong("raw is a file", "the raw folder images.zip is not there", card={"raw": "images.zip"}, change=text("images.zip", "PK")),
    Wrong("classes", "no image of class sick and there are images of class ill", card={"classes": ["healthy", "sick"]}),
    Wrong("no class folders", '"p0_0.png" in flat is not a class folder', card={"raw": "flat"}, change=SHALLOW),
    Wrong("train and test folders", "cp -Rn raw/test/. raw/train/.", change=PARTS),
    Wrong("one folder too high", "Set `raw: all/raw`", card={"raw": "all"}, change=both(move("raw/masks", "masks"), move("raw", "all/raw"))),
    Wrong("empty class", "there is no image of class none", change=lambda home: (home / "raw/none").mkdir()),
    # file types
    Wrong("DICOM", "it is a DICOM file", change=text("raw/ill/scan.dcm", "")),
    Wrong("text called .png", "p0_0.png cannot be read as an image", change=text("raw/healthy/p0_0.png", "no image")),
    Wrong("16 bits", "have more than 8 bits", change=put("raw/healthy/p0_0.png", kind=np.uint16)),
    Wrong("size of a mask", "is 24 x 21 pixels, but its image is 24 x 20", change=put("raw/masks/ill/p1_1.png", (21, 24))),
    Wrong("JPEG mask", "is a JPEG", change=both(put("raw/masks/ill/p1_1.jpg"), lambda home: (home / "raw/masks/ill/p1_1.png").unlink())),
    Wrong("mask of no image", "is the mask of no image", change=put("raw/masks/ill/other.png")),
    # patients
    Wrong("no patients", "20 of 20 images have no patient", card={"groups": None}),
    Wrong("pattern without a group", "has no group (?P<patient>...)", card={"groups": {"pattern": "p"}}),
    Wrong("pattern that matches nothing", "finds no patient in 20 of 20 file names", card={"groups": {"pattern": "(?P<patient>q)"}}),
    Wrong("groups.csv with semicolons", "has the columns image;patient", card={"groups": None}, change=text("raw/groups.csv", "image;patient\n")),
    Wrong("groups.csv with a wrong name", 'a line for "ill/p1.png"', card={"groups": None},
          change=text("raw/groups.csv", "image,patient\nill/p1.png,p1\n")),
    # other commands
    Wrong("init: folder", "the folder scans is not there", "init --images scans"),
    Wrong("init: again", "exists already", "init --images raw --name mine"),
    Wrong("explain: before training", "is not trained yet", "explain --image a.png --study mine --arch small --seed 0"),
    Wrong("explain: network", 'no architecture "smal"; did you mean "small"', "explain --image a.png --study mine --arch smal --seed 0"),
    Wrong("explain: method", 'did you mean "gradcam"', "explain --image a.png --study mine --arch small --seed 0 --methods gradcamm"),
    Wrong("show: file", "there is no file maps.h5", "show maps.h5"),
    Wrong("show: no map store", "config/studies/mine.yaml", "show config/studies/mine.yaml"),
    Wrong("methods: network", "Similar names: resnet50", "methods --arch resnet5o"),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with twenty images of ten patients; each ill one has a mask."""
    for place in ("config/datasets", "config/studies", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
    for number in range(20):
        label = "ill" if number % 2 else "healthy"
        name = f"p{number % 10}_{number}.png"
        put(f"raw/{label}/{name}")(tmp_path)
        if label == "ill":
            put(f"raw/masks/ill/{name}")(tmp_path)
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(home: Path, wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the command says of a wrong input."""
    card = {key: value for key, value in (CARD | wrong.card).items() if value is not None}
    (home / "config/datasets/mine.yaml").write_text(yaml.safe_dump(card))
    (home / "config/studies/mine.yaml").write_text(yaml.safe_dump(STUDY | wrong.study))
    wrong.change(home)
    monkeypatch.chdir(home / wrong.where)
    monkeypatch.setattr(sys, "argv", ["gradfaith", *wrong.argv.split()])
    with pytest.raises(SystemExit) as end:
        main.main()
    return str(end.value)


def test_the_sound_study_passes(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config/datasets/mine.yaml").write_text(yaml.safe_dump(CARD))
    (home / "config/studies/mine.yaml").write_text(yaml.safe_dump(STUDY))
    monkeypatch.setattr(sys, "argv", ["gradfaith", "check", "mine"])
    main.main()
    assert "no problem found" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_message_names_problem_reason_and_fix(home: Path, monkeypatch: pytest.MonkeyPatch, wrong: Wrong) -> None:
    said = message(home, wrong, monkeypatch)
    assert wrong.words in said
    assert "Traceback" not in said
    for error in re.split(r"\n(?=\w+: )", said):
        problem, *rest = error.split("\n")
        assert re.match(r"[A-Z]\w+: .", problem), problem
        parts = [line for line in rest if re.match(r"  \S", line)]
        assert len(parts) >= 2, error


def test_there_are_forty_and_each_has_a_name_of_its_own() -> None:
    assert len(WRONG) >= 40
    assert len({wrong.name for wrong in WRONG}) == len(WRONG)


def test_no_message_advises_deleting_a_file_outside_the_results() -> None:
    """Of a file of results/<study>/ Snakemake can make another; this is not known of any other file."""
    own = ("models/training/", "stats/", "storage/")  # read nothing but files of results/<study>/
    advising = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.keyword)
                and node.arg == "fix"
                and re.search(r"\b[Dd]elete\b", ast.unparse(node.value))
            ):
                advising.add(path.relative_to(PACKAGE).as_posix())
    assert [name for name in sorted(advising) if not name.startswith(own)] == []
    assert advising
