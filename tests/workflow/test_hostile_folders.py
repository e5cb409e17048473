"""A hundred raw folders that nobody would make on purpose, through Snakemake: they are read, or refused in words."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from workspace import Workspace, plant

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hostile")]

CARD = """
title: hostile
reader: folder
options: {one_image_per_patient: true}
raw: raw
classes: [round, square]
evidence: none
licence: none
"""
NAMES = ("{arch}", "a{b,c}", "<script>", "`id`", "$(id)", "*", "?", "[a]", "'", '"', "\\", "%s", "ü", "u\u0308", "\u202e", "\u200b", " ", "-rf",
         "~", "#", "a\nb", "a\tb",
         "a\rb", "\x1b[31m", "con", "x" * 200, ".", "..png", "😀", ";", "&", "|", "{{x}}", "{% x %}", "!", "=", ",", ":")  # fmt: skip


def image(path: Path, draw: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw.integers(0, 255, (16, 16), dtype=np.uint8)).save(path, format="PNG")


def hostile_name(raw: Path, draw: np.random.Generator) -> None:
    image(raw / "round" / f"{NAMES[draw.integers(len(NAMES))]}.png", draw)


def bytes_that_are_no_text(raw: Path, draw: np.random.Generator) -> None:
    image(raw / "square/z.png", draw)
    (raw / "square/z.png").rename(raw / "square" / os.fsdecode(b"\xff\xfe.png"))


def empty_file(raw: Path, draw: np.random.Generator) -> None:
    (raw / "round/empty.png").touch()


def damaged_file(raw: Path, draw: np.random.Generator) -> None:
    path = raw / "round/p0.png"
    content = bytearray(path.read_bytes())
    content[draw.integers(len(content))] ^= 0xFF
    path.write_bytes(content[: draw.integers(1, len(content))])


def folder_named_like_an_image(raw: Path, draw: np.random.Generator) -> None:
    (raw / "round/folder.png").mkdir()


def loop(raw: Path, draw: np.random.Generator) -> None:
    (raw / "round/loop.png").symlink_to("loop.png")


def link_to_nowhere(raw: Path, draw: np.random.Generator) -> None:
    (raw / "round/nowhere.png").symlink_to("/no/such/file.png")


def link_to_a_parent(raw: Path, draw: np.random.Generator) -> None:
    (raw / "parent").symlink_to("..")


def link_to_a_device(raw: Path, draw: np.random.Generator) -> None:
    (raw / "round/zero.png").symlink_to("/dev/zero")


def pipe(raw: Path, draw: np.random.Generator) -> None:
    os.mkfifo(raw / "round/pipe.png")


def foreign_class(raw: Path, draw: np.random.Generator) -> None:
    image(raw / f"class {NAMES[draw.integers(len(NAMES))]}" / "a.png", draw)


def no_image_of_a_class(raw: Path, draw: np.random.Generator) -> None:
    shutil.rmtree(raw / "square")


def broken_table(raw: Path, draw: np.random.Generator) -> None:
    texts = (
        b"", b"\xff\xfe\x00", b"image,patient\nround/p0.png", b'image,patient\n"round/p0.png,a\n', b"a;b\n1;2\n",
        b"image,patient\nround/none.png,x\n",
    )  # fmt: skip
    (raw / "groups.csv").write_bytes(texts[draw.integers(len(texts))])


def broken_boxes(raw: Path, draw: np.random.Generator) -> None:
    lines = ("round/p0.png,1,1,nan,3", "round/p0.png,1,1,1e9,3", "round/p0.png,-1,1,1,3", "x,1,1,1,1", "round/p0.png,1")
    (raw / "boxes.csv").write_text("image,x,y,width,height\n" + lines[draw.integers(len(lines))] + "\n")


def mask_of_nothing(raw: Path, draw: np.random.Generator) -> None:
    image(raw / "masks/round/none.png", draw)


def huge_header(raw: Path, draw: np.random.Generator) -> None:
    content = bytearray((raw / "round/p0.png").read_bytes())
    content[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    (raw / "round/p0.png").write_bytes(content)


def many_notes(raw: Path, draw: np.random.Generator) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "round/.x.png.swp", "__MACOSX/a.png"):
        (raw / name).parent.mkdir(exist_ok=True)
        (raw / name).write_text("x")


SPOILERS: list[Callable[[Path, np.random.Generator], None]] = [
    hostile_name, hostile_name, hostile_name, hostile_name, bytes_that_are_no_text, empty_file, damaged_file, folder_named_like_an_image, loop,
    link_to_nowhere, link_to_a_parent, link_to_a_device, pipe, foreign_class, no_image_of_a_class, broken_table, broken_boxes, mask_of_nothing,
    huge_header, many_notes,
]  # fmt: skip


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    space = plant(tmp_path_factory.mktemp("hostile"))
    (space.folder / "config/datasets/mine.yaml").write_text(CARD)
    study = yaml.safe_load((space.folder / "tiny.yaml").read_text())
    study |= {"dataset": {"name": "mine"}, "localization": [], "figures": ["classification"]}
    study["primary"] = {"metric": "faith", "method": "gradcam", "against": "random-grid"}
    (space.folder / "tiny.yaml").write_text(yaml.safe_dump(study))
    return space


@pytest.mark.parametrize("number", range(100))
def test_a_hostile_folder_is_read_or_refused_in_words(space: Workspace, number: int) -> None:
    draw, raw = np.random.default_rng([2026, number]), space.folder / "raw"
    for folder in (raw, space.folder / "results", space.folder / "resources/mine"):
        shutil.rmtree(folder, ignore_errors=True)
    for label in ("round", "square"):
        for patient in range(6):
            image(raw / label / f"p{patient}.png", draw)
    for spoil in [SPOILERS[number % len(SPOILERS)], *draw.choice(np.array(SPOILERS, dtype=object), number // 40)]:
        try:
            spoil(raw, draw)
        except (FileExistsError, FileNotFoundError):
            continue  # two that exclude each other
    done = space.snakemake("results/tiny/data/images.h5", check=False)
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text[-4000:]
    if done.returncode:
        assert re.search(
            r"^(\w+: )?(DatasetInvalid|UnreadableImage|MaskSizeMismatch|LossyMask|SplitImpossible): ",
            text,
            re.MULTILINE,
        ), text[-4000:]
    else:
        assert (space.folder / "results/tiny/data/images.h5").is_file()
