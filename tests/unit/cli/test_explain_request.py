"""What is asked at the prompt is found in the study and on the disk, or refused before a model is loaded."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradfaith.cli import explain_request
from gradfaith.cli.explain_request import ExplainRequest
from gradfaith.dag.plan import Plan
from gradfaith.errors import (
    CannotWrite,
    GradFaithError,
    ModelUnusable,
    NotInStudy,
    StudyInvalid,
    UnknownName,
    UnreadableImage,
)
from gradfaith.storage.hdf5 import ImageWriter

MODEL = "results/tiny/models/net-a/seed-1"


@pytest.fixture
def here(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the tiny study has one model and two images, as far as anybody can see without loading them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(root / "tests")
    Path(MODEL).mkdir(parents=True)
    for name in ("weights.safetensors", "card.json"):
        (Path(MODEL) / name).write_text("")
    with ImageWriter("results/tiny/data/images.h5", ["a/1", "a/2"], ["evidence", "lungs"], (1, 64, 64), {}) as writer:
        for row, grey in enumerate((10, 200)):
            pixels = np.full((1, 64, 64), grey, dtype=np.uint8)
            writer.put(row, pixels, {"evidence": pixels[0] > 100, "lungs": pixels[0] > 0} if row else {})
        writer.describe(mean=0.4, std=0.2, digest="d7")
    Image.fromarray(np.full((40, 50), 77, dtype=np.uint8)).save("x.png")
    Path("broken.png").write_bytes(b"\x89PNG")
    return root


def resolve(root: Path, **words: object) -> explain_request.ResolvedRequest:
    default = {"image": "a/2", "study": "tests/workflow/tiny.yaml", "arch": "net-a", "seed": 1}
    return explain_request.resolve(ExplainRequest(**(default | words)), root)


def test_an_image_of_the_study_comes_with_what_is_known_of_it(here: Path) -> None:
    resolved = resolve(here)
    assert (resolved.image.image_id, resolved.image.digest, resolved.image.in_study) == ("a/2", "d7", True)
    assert resolved.image.pixels.shape == (1, 64, 64)
    assert resolved.image.evidence.all()
    assert resolved.image.organ is not None
    assert resolved.image.organ.all()
    assert resolved.out == Path("explained/tiny-net-a-1-a-2")
    assert not Path("explained").exists()


def test_a_file_is_fitted_and_nothing_is_known_of_it(here: Path) -> None:
    resolved = resolve(here, image="x.png")
    assert resolved.image.pixels.shape == (1, 64, 64)
    assert set(resolved.image.pixels.ravel()) == {77}
    assert not resolved.image.evidence.any()
    assert (resolved.image.in_study, resolved.image.organ) == (False, None)
    assert resolved.out == Path("explained/tiny-net-a-1-x")


def test_methods_are_the_study_s_or_any_that_exists_with_its_defaults(here: Path) -> None:
    assert list(resolve(here).methods) == ["gradcam"]
    methods = resolve(here, methods=["gradcam", "refine", "random-grid"]).methods
    assert [(use.group, use.use, use.layer, use.shuffled) for use in methods.values()] == [
        ("methods", "gradcam", "auto", False), ("methods", "refine", "auto", False), ("controls", "random-grid", "auto", False),
    ]  # fmt: skip
    assert methods["refine"].options == {"of": "layercam", "of_options": {}, "combine": "product"}


def test_a_label_keeps_its_layer_options_and_score_and_is_asked_where_only_allows(tiny: dict, root: Path) -> None:
    tiny["bundles"]["more"] = {
        "methods": {
            "early": {"use": "refine", "layer": {"net-a": "layer2"}, "options": {"of": "gradcam"}, "score": "margin"},
            "flat": {"use": "cam", "only": ["net-b"]},
        }
    }
    plan = Plan.read(tiny, root)
    assert list(explain_request._resolve_methods(plan, "net-a", [])) == ["gradcam", "early"]
    early = explain_request._resolve_methods(plan, "net-a", ["early"])["early"]
    assert (early.layer, early.options["of"], early.score) == ("layer2", "gradcam", "margin")
    assert explain_request._resolve_methods(plan, "net-b", ["early"])["early"].layer == "auto"
    assert list(explain_request._resolve_methods(plan, "net-a", ["flat"])) == ["flat"]  # asked by name it is tried


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ({"study": "phantm"}, StudyInvalid, 'did you mean "phantom"'),
        ({"study": "nowhere.yaml"}, StudyInvalid, "there is no file nowhere.yaml"),
        ({"arch": "net-c"}, NotInStudy, 'no architecture "net-c"; did you mean'),
        ({"seed": 7}, NotInStudy, 'no seed "7"'),
        ({"target": "maligant"}, NotInStudy, 'did you mean "malignant"'),
        ({"methods": ["gradcm"]}, UnknownName, 'did you mean "gradcam"'),
        ({"seed": 0}, ModelUnusable, "seed-0/weights.safetensors is not there"),
        ({"study": "phantom", "arch": "resnet"}, ModelUnusable, "results/phantom/models/resnet"),
        ({"image": "a/3"}, NotInStudy, 'neither a file nor an image of study tiny; did you mean "a/'),
        ({"image": "broken.png"}, UnreadableImage, "broken.png cannot be read as an image"),
        ({"out": Path("results")}, CannotWrite, "results is there and is no earlier explanation"),
        ({"out": Path("x.png")}, CannotWrite, "x.png is there"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_is_written(
    here: Path, words: dict, kind: type[GradFaithError], said: str
) -> None:
    before = sorted(os.listdir())
    with pytest.raises(kind) as refused:
        resolve(here, **words)
    assert said in refused.value.problem
    assert refused.value.reason
    assert refused.value.fix
    assert sorted(os.listdir()) == before


def test_without_images_only_a_file_can_be_asked_for(here: Path) -> None:
    Path("results/tiny/data/images.h5").unlink()
    assert resolve(here, image="x.png").image.image_id == "x.png"
    with pytest.raises(NotInStudy, match=r'no file "a/2", and no results/tiny/data/images\.h5'):
        resolve(here)


def test_an_earlier_answer_may_be_replaced(here: Path) -> None:
    Path("mine").mkdir()
    assert resolve(here, out=Path("mine")).out == Path("mine")
    (Path("mine") / "notes.txt").write_text("")
    with pytest.raises(CannotWrite):
        resolve(here, out=Path("mine"))
    (Path("mine") / explain_request.MAPS_FILE).write_text("")
    assert resolve(here, out=Path("mine")).out == Path("mine")
