"""`gradfaith init` writes a dataset and a study that pass the check, and never replaces a file."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gradfaith.cli import main, new_study
from gradfaith.cli.new_study import create_study, scan_folder
from gradfaith.data.readers import folder
from gradfaith.errors import CannotWrite, DatasetInvalid, GradFaithError, StudyInvalid
from gradfaith.storage.paths import StudyPaths

DRAW = np.random.default_rng(0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(names: Sequence[str], *, colour: bool = False) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        pixels = DRAW.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels if colour else pixels[..., 0]).save(name)


def images(folder: str, pattern: str = "img{0}.png", count: int = 24) -> list[str]:
    return [
        f"{folder}/{'ill' if number % 2 else 'healthy'}/{pattern.format(number, number // 2)}"
        for number in range(count)
    ]


def created(**words: object) -> tuple[dict, dict]:
    (dataset, study), findings = create_study(
        **({"images": Path("Scans 1"), "masks": None, "name": ""} | words), root=Path()
    )
    assert findings.problems == []
    return yaml.safe_load(dataset.read_text()), yaml.safe_load(study.read_text())


def test_a_folder_without_masks_or_patients_gives_a_study_that_passes(home: Path) -> None:
    put(images("Scans 1"))
    dataset, study = created()
    assert (dataset["raw"], dataset["classes"], dataset["evidence"]) == ("Scans 1", ["healthy", "ill"], "none")
    assert dataset["groups"] == {"cues": ["order", "duplicates"]}
    assert study["study"] == "scans-1"
    assert "localization" not in study
    assert study["primary"]["metric"] == "faith"
    assert study["image"]["channels"] == dataset["options"]["channels"] == 1


def test_every_key_is_explained(home: Path) -> None:
    put(images("Scans 1"))
    written, _ = create_study(Path("Scans 1"), None, "", Path())
    for path in written:
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if line and line[0].isalpha() and ":" in line:
                assert "#" in line or lines[number - 1].startswith("#") or lines[number - 2].startswith("#"), line


def test_masks_elsewhere_colour_and_patients_in_names_are_found(home: Path) -> None:
    put(images("Scans 1", "P{1}_{0}.jpg"), colour=True)
    put(
        [
            name.replace("Scans 1", "m").replace("jpg", "png")
            for name in images("Scans 1", "P{1}_{0}.jpg")
            if "ill" in name
        ]
    )
    dataset, study = created(masks=Path("m"), name="mine")
    assert dataset["options"] == {"channels": 3, "masks": "m"}
    assert dataset["evidence"] == "mask"
    assert dataset["groups"] == {"pattern": new_study.PATTERNS[0]}
    assert study["image"]["channels"] == study["architectures"]["resnet"]["in_chans"] == 3
    assert study["localization"] == ["saliency_score", "iou_area_matched"]


@pytest.mark.parametrize(
    ("pattern", "patient"),
    [
        ("patient-{1}_slice{0}.png", "patient-3"),
        ("{1:04d}_{0}.png", "0003"),
        ("scan_p{1}_{0}.png", "p3"),
        ("img{0}.png", ""),  # numbers images, not patients
        ("case_{0}_x.png", ""),  # every image has another number
    ],
)
def test_a_pattern_is_proposed_only_where_it_groups_images(home: Path, pattern: str, patient: str) -> None:
    put(images("raw", pattern))
    found = scan_folder(Path("raw"), None).pattern
    assert bool(found) == bool(patient)
    assert not patient or new_study.re.search(found, pattern.format(7, 3))["patient"] == patient


def test_a_table_of_patients_needs_no_key(home: Path) -> None:
    put(images("Scans 1"))
    lines = [f"{name.removeprefix('Scans 1/')},p{place // 2}" for place, name in enumerate(images("Scans 1"))]
    Path("Scans 1/groups.csv").write_text("\n".join(["image,patient", *lines]) + "\n")
    assert "groups" not in created()[0]


def test_pretrained_weights_are_used_only_where_they_are(home: Path) -> None:
    put(images("Scans 1"))
    assert "weights" not in created()[1]["architectures"]["resnet"]
    weights = Path(StudyPaths.pretrained(new_study.PRETRAINED))
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert created(name="other")[1]["architectures"] == {
        "resnet": {"timm": new_study.PRETRAINED, "weights": "pretrained"}
    }


def test_nothing_is_replaced(home: Path) -> None:
    put(images("Scans 1"))
    created()
    before = {path: path.read_text() for path in home.glob("config/*/*.yaml")}
    for name in before:
        name.with_suffix(".kept").write_text("")
        with pytest.raises(CannotWrite, match="exists already"):
            create_study(Path("Scans 1"), None, "", Path())
    assert {path: path.read_text() for path in home.glob("config/*/*.yaml")} == before


@pytest.mark.parametrize(
    ("files", "words", "kind", "said"),
    [
        ([], {"images": Path("nope")}, DatasetInvalid, "the folder nope is not there"),
        (["raw/a.png"], {}, DatasetInvalid, '"a.png" in raw is not a class folder'),
        (["raw/ill/a.png"], {}, DatasetInvalid, "images of one class only, ill"),
        (["raw/train/ill/a.png", "raw/test/ill/b.png"], {}, DatasetInvalid, "the folders test, train"),
        (images("raw"), {"name": "My Study"}, StudyInvalid, '"My Study" cannot be the name'),
        (images("raw"), {"masks": Path("no")}, DatasetInvalid, "the folder of masks no does not exist"),
        (
            [*images("raw"), "m/ill/other.png"],
            {"masks": Path("m")},
            DatasetInvalid,
            '"ill/other.png" in m is the mask of no image',
        ),
    ],
)
def test_a_folder_that_cannot_be_a_dataset_is_an_error_and_writes_nothing(
    home: Path, files: list[str], words: dict, kind: type[GradFaithError], said: str
) -> None:
    put(files)
    with pytest.raises(kind) as error:
        create_study(**({"images": Path("raw"), "masks": None, "name": ""} | words), root=Path())
    assert said in error.value.problem
    assert not list(home.rglob("*.yaml"))


def test_the_command_says_what_to_do_next(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(images("Scans 1"))
    Path("Snakefile").touch()
    Path("config").mkdir()
    monkeypatch.setattr(sys, "argv", ["gradfaith", "init", "--images", "Scans 1"])
    main.main()
    said = capsys.readouterr().out
    assert said.startswith("wrote config/datasets/scans-1.yaml\nwrote config/studies/scans-1.yaml\n")
    assert "class ill      12 images" in said
    assert said.endswith("gradfaith check scans-1; gradfaith run scans-1\n")


VOC = """<annotation><filename>{stem}.jpg</filename><source><database>{database}</database></source>
<object><name>ill</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>
<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></object></annotation>"""


def annotate(names: Sequence[str], database: str, corners: tuple[int, int, int, int]) -> None:
    Path("xml/deep").mkdir(parents=True)
    numbers = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    for stem in (Path(name).stem for name in names):
        Path(f"xml/deep/{stem}.xml").write_text(VOC.format(stem=stem, database=database, **numbers))


@pytest.mark.parametrize(
    ("database", "corners"), [("The VOC2007 Database", (1, 2, 24, 10)), ("ILSVRC_2012", (0, 1, 24, 10))]
)
def test_xml_boxes_become_the_same_pixels_in_both_conventions(
    home: Path, database: str, corners: tuple[int, int, int, int]
) -> None:
    """PASCAL VOC counts pixels from 1 and includes the last one, ImageNet states edges; only objects of the class count."""
    put(images("Scans 1"))
    annotate(images("Scans 1"), database, corners)
    dataset, study = created(boxes=Path("xml"))
    assert dataset["evidence"] == "box"
    assert study["localization"] == ["saliency_score", "iou_area_matched"]
    lines = Path("Scans 1/boxes.csv").read_text().splitlines()
    assert lines[:2] == ["image,x,y,width,height", "ill/img1.png,0,1,24,9"]
    assert len(lines) == 1 + 12, "an image of class healthy has no object of its class"
    record = next(record for record in scan_folder(Path("Scans 1"), None).records if record.evidence == "box")
    mask = folder.read(Path("Scans 1"), folder.Options(), record, None).masks["evidence"]
    assert mask.shape == (20, 24)
    assert mask[1:10].all()
    assert mask.sum() == 9 * 24


def test_boxes_that_do_not_fit_are_refused(home: Path) -> None:
    put(images("Scans 1"))
    Path("xml").mkdir()
    with pytest.raises(DatasetInvalid, match="none has the name of an image"):
        created(boxes=Path("xml"))
    Path("xml/img1.xml").write_text(VOC.format(stem="img1", database="x", xmin=5, ymin=1, xmax=2, ymax=9))
    with pytest.raises(DatasetInvalid, match="the box 5, 1, 2, 9 is not inside an image"):
        created(boxes=Path("xml"))
    Path("xml/img1.xml").write_text("<annotation>")
    with pytest.raises(DatasetInvalid, match=r"img1\.xml cannot be read as an annotation"):
        created(boxes=Path("xml"))
    Path("Scans 1/boxes.csv").write_text("image,x,y,width,height\n")
    with pytest.raises(CannotWrite, match=r"boxes\.csv exists"):
        created(boxes=Path("xml"))
