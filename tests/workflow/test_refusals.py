"""Bad input: a refusal in three parts, a non-zero exit, nothing half-written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from test_job_errors import AROUND
from workspace import TINY, Workspace

from gradfaith.storage.hdf5 import ImageStore

pytestmark = pytest.mark.xdist_group("workflow")  # the finished study is made once

MINE = """
title: drawn squares
reader: folder
raw: raw
classes: [round, square]
evidence: mask
licence: none needed
"""


@pytest.fixture
def own_images(fresh: Workspace) -> Workspace:
    """A study of the user's own images: two classes, six patients each, masks, groups.csv."""
    raw = fresh.folder / "raw"
    lines = ["image,patient"]
    for label in ("round", "square"):
        for patient in range(6):
            for number in range(2):
                pixels = np.random.default_rng(100 * patient + number).integers(0, 80, (64, 64), dtype=np.uint8)
                mask = np.zeros_like(pixels)
                mask[10:30, 12:30] = 255
                for folder, array in (("", np.where(mask > 0, 200, pixels).astype(np.uint8)), ("masks", mask)):
                    file = raw / folder / label / f"p{patient}-{number}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(file)
                lines.append(f"{label}/p{patient}-{number}.png,{label}{patient}")
    (raw / "groups.csv").write_text("\n".join(lines) + "\n")
    (fresh.folder / "config/datasets/mine.yaml").write_text(MINE)
    study = yaml.safe_load((fresh.folder / "tiny.yaml").read_text())
    study["dataset"] = {"name": "mine"}
    (fresh.folder / "tiny.yaml").write_text(yaml.safe_dump(study))
    return fresh


def refusal(space: Workspace, *targets: str) -> str:
    """What a run that must fail says."""
    done = space.snakemake(*targets, check=False)
    assert done.returncode != 0
    assert not list(space.folder.glob("results/**/*.tmp"))
    text = done.stdout + done.stderr
    assert not [words for words in AROUND if words in text]
    return text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("epochs:", "epoch:", 'training.epoch: unknown key; did you mean "epochs"?', id="misspelt key"),
        pytest.param(
            "methods: [gradcam]",
            "methods: [gradcan]",
            'there is no method called "gradcan"; did you mean "gradcam"?',
            id="unknown method",
        ),
        pytest.param(
            "seeds: [0, 1]",
            "seeds: [0]",
            "agreement: consist compares models of several seeds",
            id="agreement of one seed",
        ),
    ],
)
def test_a_wrong_study_is_refused_before_any_job(fresh: Workspace, old: str, new: str, said: str):
    fresh.edit("tiny.yaml", old, new)
    text = refusal(fresh)
    assert said in text
    assert "StudyInvalid" in text
    assert not (fresh.folder / "results").exists()


def test_the_users_own_images_run_through_the_data_rules(own_images: Workspace):
    own_images.snakemake("results/tiny/data/images.h5")
    with ImageStore(own_images.folder / "results/tiny/data/images.h5") as images:
        lesion, known = images.mask("evidence", images.ids)
        pixels = images.pixels(images.ids)[:, 0]
    assert len(images.ids) == 24
    assert known.all()
    assert (lesion.sum((1, 2)) == 20 * 18).all()
    assert (pixels[lesion] == 200).all()


def test_a_mask_of_another_size_is_refused(own_images: Workspace):
    Image.fromarray(np.zeros((63, 64), dtype=np.uint8)).save(own_images.folder / "raw/masks/round/p0-0.png")
    text = refusal(own_images, "results/tiny/data/manifest.parquet")
    assert text.count('MaskSizeMismatch: the mask of "p0-0.png" is 64 x 63 pixels, but its image is 64 x 64.') == 1
    assert not (own_images.folder / "results/tiny/data/manifest.parquet").exists()


def test_an_unreadable_image_is_refused(own_images: Workspace):
    (own_images.folder / "raw/round/p1-0.png").write_bytes(b"not an image")
    text = refusal(own_images, "results/tiny/data/manifest.parquet")
    assert "UnreadableImage" in text
    assert "p1-0.png" in text


def test_an_empty_class_is_refused(own_images: Workspace):
    for file in (own_images.folder / "raw/round").iterdir():
        file.unlink()
    text = refusal(own_images, "results/tiny/data/manifest.parquet")
    assert "DatasetInvalid: there is no image of class round" in text


def test_a_class_with_a_single_group_is_refused(own_images: Workspace):
    table = own_images.folder / "raw/groups.csv"
    table.write_text(
        "\n".join(
            line if not line.startswith("round") else line.rpartition(",")[0] + ",one"
            for line in table.read_text().splitlines()
        )
    )
    text = refusal(own_images, "results/tiny/data/splits.parquet")
    assert "SplitImpossible" in text
    assert "'round': 1" in text
    assert not (own_images.folder / "results/tiny/data/splits.parquet").exists()


def test_a_raw_file_that_changes_makes_the_index_stale_and_a_touch_does_not(own_images: Workspace):
    own_images.snakemake("results/tiny/data/images.h5")
    image = own_images.folder / "raw/round/p0-0.png"
    image.touch()
    assert own_images.planned("results/tiny/data/images.h5") == {}
    Image.fromarray(np.full((64, 64), 7, dtype=np.uint8)).save(image)
    assert own_images.planned("results/tiny/data/images.h5") == {
        "list_raw": 1,
        "index": 1,
        "split": 1,
        "pack_images": 1,
    }


@pytest.mark.end_to_end
def test_a_note_a_hidden_file_and_a_renamed_folder_make_nothing_stale(own_images: Workspace):
    own_images.snakemake("results/tiny/data/images.h5")
    raw = own_images.folder / "raw"
    for name in (".DS_Store", "notes.txt", "round/.hidden.png", "round/Thumbs.db"):
        (raw / name).write_text("not read")
    assert own_images.planned("results/tiny/data/images.h5") == {}
    raw.rename(own_images.folder / "images of 2026")
    own_images.edit("config/datasets/mine.yaml", "raw: raw", "raw: images of 2026")
    assert own_images.planned("results/tiny/data/images.h5") == {}


@pytest.mark.end_to_end
def test_names_that_mean_something_to_snakemake_are_only_names(own_images: Workspace):
    raw = own_images.folder / "raw"
    table = (raw / "groups.csv").read_text()
    for number, name in enumerate(("{arch}", "a{b,c}", "<script>alert(1)<", "$HOME `id`", "ü %s {{x}}", "*?[a]")):
        for folder in (raw / "round", raw / "masks/round"):
            (folder / f"p{number}-0.png").rename(folder / f"{name}.png")
        table = table.replace(f"round/p{number}-0.png", f'"round/{name}.png"')
    (raw / "groups.csv").write_text(table)
    own_images.snakemake("results/tiny/data/images.h5")
    with ImageStore(own_images.folder / "results/tiny/data/images.h5") as images:
        assert {"round/{arch}.png", "round/*?[a].png"} <= set(images.ids)
    assert own_images.planned("results/tiny/data/images.h5") == {}


@pytest.mark.end_to_end
def test_of_a_private_dataset_no_name_is_written_anywhere(own_images: Workspace):
    raw, card = own_images.folder / "raw", own_images.folder / "config/datasets/mine.yaml"
    card.write_text(card.read_text() + "private: true\n")
    table = (raw / "groups.csv").read_text()
    (raw / "groups.csv").write_text(table.replace("round0", "Doe-Jane").replace("p0-0", "Doe-Jane-0"))
    for folder in (raw / "round", raw / "masks/round", raw / "square", raw / "masks/square"):
        (folder / "p0-0.png").rename(folder / "Doe-Jane-0.png")
    own_images.snakemake("results/tiny/data/audit.json")
    (raw / "round/Doe-Jane-0.png").write_bytes(b"no image")
    assert "UnreadableImage" in (text := refusal(own_images, "results/tiny/data/manifest.parquet"))
    written = [
        path for place in ("results", "resources", ".snakemake") for path in (own_images.folder / place).rglob("*")
    ]
    holders = [path for path in written if (path.is_file() and b"Doe" in path.read_bytes()) or "Doe" in path.name]
    assert not holders
    assert "Doe" not in text


def test_a_truncated_map_store_is_refused_by_name(spoilable: Workspace):
    store: Path = spoilable.folder / "results/tiny/maps/net-a/seed-0/cams.h5"
    store.write_bytes(store.read_bytes()[:-2000])
    done = spoilable.snakemake("--forcerun", "localization", "--until", "localization", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "BrokenStore" in text
    assert f"Delete {store.relative_to(spoilable.folder)}" in text


@pytest.mark.parametrize(
    ("closed", "target", "study"),
    [
        ("resources", "resources/weights/test_resnet.r160_in1k.safetensors", TINY),
        ("resources/iqothnccd", "resources/iqothnccd/fetched.json", "config/studies/paper.yaml"),
        ("results", "results/tiny/data/manifest.parquet", TINY),
    ],
)
def test_a_read_only_folder_is_said_before_the_first_job(
    fresh: Workspace, read_only: Callable[[Path], None], closed: str, target: str, study: str
) -> None:
    fresh.study = study
    (fresh.folder / closed).mkdir(exist_ok=True)
    read_only(fresh.folder / closed)
    text = refusal(fresh, target)
    assert f"CannotWrite: {Path(target).parent} cannot be written to: {fresh.folder / closed} " in text
    assert f"Make {closed} writable (chmod, or mount it read-write)" in text
    assert "Traceback" not in text
    assert "Errno" not in text
