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
    ArgumentInvalid,
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
    default = {"images": ["a/2"], "study": "tests/workflow/tiny.yaml", "arch": "net-a", "seed": 1}
    return explain_request.resolve(ExplainRequest(**(default | words)), root)


def test_an_image_of_the_study_comes_with_what_is_known_of_it(here: Path) -> None:
    resolved = resolve(here)
    assert (resolved.images[0].image_id, resolved.images[0].digest, resolved.images[0].in_study) == ("a/2", "d7", True)
    assert resolved.images[0].pixels.shape == (1, 64, 64)
    assert resolved.images[0].evidence.all()
    assert resolved.images[0].organ is not None
    assert resolved.images[0].organ.all()
    assert resolved.images[0].out == Path("explained/tiny-net-a-1-a-2")
    assert not Path("explained").exists()


def test_a_file_is_fitted_and_nothing_is_known_of_it(here: Path) -> None:
    resolved = resolve(here, images=["x.png"])
    assert resolved.images[0].pixels.shape == (1, 64, 64)
    assert set(resolved.images[0].pixels.ravel()) == {77}
    assert not resolved.images[0].evidence.any()
    assert (resolved.images[0].in_study, resolved.images[0].organ) == (False, None)
    assert resolved.images[0].out == Path("explained/tiny-net-a-1-x")


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
        ({"images": ["a/3"]}, NotInStudy, 'neither a file nor an image of study tiny; did you mean "a/'),
        ({"images": ["broken.png"]}, UnreadableImage, "broken.png cannot be read as an image"),
        ({"images": ["y.png"]}, NotInStudy, 'neither a file nor an image of study tiny; did you mean "x.png"?'),
        ({"images": ["results"]}, NotInStudy, "the folder results contains no image, only the folders tiny"),
        ({"images": ["x.png"], "window": (0.0, 9.0)}, ArgumentInvalid, "no image has more than 8 bits"),
        ({"images": ["x.png"], "window": (9.0, 0.0)}, ArgumentInvalid, "LOW must be below HIGH"),
        ({"out": Path("results")}, CannotWrite, "results exists, but `gradfaith explain` did not write it"),
        ({"out": Path("x.png")}, CannotWrite, "x.png exists"),
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
    assert resolve(here, images=["x.png"]).images[0].image_id == "x.png"
    with pytest.raises(NotInStudy, match=r'no file "a/2"\..* \(results/tiny/data/images\.h5 does not exist'):
        resolve(here)


def test_an_earlier_answer_may_be_replaced(here: Path) -> None:
    Path("mine").mkdir()
    assert resolve(here, out=Path("mine")).images[0].out == Path("mine")
    (Path("mine") / "notes.txt").write_text("")
    with pytest.raises(CannotWrite):
        resolve(here, out=Path("mine"))
    (Path("mine") / explain_request.MAPS_FILE).write_text("")
    assert resolve(here, out=Path("mine")).images[0].out == Path("mine")


def test_images_of_a_folder_are_taken_in_order_and_have_a_folder_each(here: Path) -> None:
    for name in ("set/s10.png", "set/s2.png", "set/notes.txt", "other/s2.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(Path("x.png").read_bytes())
    images = resolve(here, images=["set", "other/s2.png", "a/2", "set/s2.png"], out=Path("o")).images
    assert [image.image_id for image in images] == ["set/s2.png", "s10.png", "other/s2.png", "a/2"]
    assert [image.out.as_posix() for image in images] == ["o/set-s2", "o/s10", "o/other-s2", "o/a-2"]
    assert resolve(here, images=["set"]).images[0].out == Path("explained/tiny-net-a-1/s2")


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("window", "middle"), [(None, 128), ((0.0, 4000.0), 191), ((2000.0, 3000.0), 255)])
def test_an_image_of_16_bits_is_read_through_a_window(
    here: Path, suffix: str, window: tuple[float, float] | None, middle: int
) -> None:
    values = np.full((64, 64), 3000, dtype=np.uint16)
    values[:20], values[44:] = 2000, 4000
    Image.fromarray(values).save(f"deep.{suffix}")
    (image,) = resolve(here, images=[f"deep.{suffix}"], window=window).images
    assert image.window == (window or (2000, 4000))
    assert image.pixels[0, 32, 32] == middle
    assert image.pixels[0, 63, 0] == 255


def test_a_message_on_one_image_is_about_this_image(here: Path) -> None:
    with pytest.raises(UnreadableImage) as refused:
        resolve(here, images=["broken.png"])
    assert "folder" not in str(refused.value)
    assert "Give another file" in refused.value.fix
