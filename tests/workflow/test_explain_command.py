"""`gradfaith explain` on the finished tiny study: the study's own maps, drawn for one image, or nothing at all."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from workspace import TINY, Workspace

from gradfaith.cli import explain_image, main
from gradfaith.cli.explain_request import ExplainRequest
from gradfaith.errors import MethodUndefined, ModelUnusable
from gradfaith.reporting.figures import overlay
from gradfaith.storage.hdf5 import ImageStore, MapStore

pytestmark = pytest.mark.xdist_group("workflow")  # the finished study is made once
IMAGES = "results/tiny/data/images.h5"


@pytest.fixture
def here(finished: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished.folder)
    return finished.folder


def explained(out: Path, **words: object) -> list[str]:
    default = {"images": [an_image()], "study": TINY, "arch": "net-b", "seed": 1, "out": out}
    return list(explain_image.run(ExplainRequest(**(default | words)), Path.cwd()))


def an_image(role: str = "predicted") -> str:
    """One whose prediction is wrong, so that it has two maps of every method."""
    with MapStore("results/tiny/maps/net-b/seed-1/cams.h5") as maps:
        return str(maps.rows.loc[maps.rows["role"] == role, "image_id"].iloc[0])


def stored(bundle: str, label: str, image: str, role: str) -> np.ndarray:
    with MapStore(f"results/tiny/maps/net-b/seed-1/{bundle}.h5") as maps:
        row = int(np.flatnonzero((maps.rows["image_id"] == image) & (maps.rows["role"] == role))[0])
        return maps.maps(label, 0, slice(row, row + 1))


def test_the_maps_are_the_study_s_own_and_everything_is_written(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, before = an_image(), sorted(os.listdir(here))
    words = [
        "explain",
        "--image",
        image,
        "--study",
        TINY,
        "--arch",
        "net-b",
        "--seed",
        "1",
        "--out",
        str(tmp_path / "a"),
    ]
    monkeypatch.setattr(sys, "argv", ["gradfaith", *words, "--methods", "gradcam", "random", "random-grid", "refine"])
    main.main()
    first, *lines, last = capsys.readouterr().out.splitlines()
    told = pd.read_parquet("results/tiny/predictions/net-b/seed-1.parquet").set_index("image_id").loc[image]
    share = told[f"calibrated_{told['predicted']}"]
    assert first == (
        f"{image}: net-b, seed 1, answers {told['predicted']} {share:.2f};"
        f" true class: {told['label']}; explained: {told['predicted']}"
    )
    assert [line.split()[:2] for line in lines] == [
        [name, "ok"] for name in ("gradcam", "random", "random-grid", "refine")
    ]
    assert last.startswith(f"{tmp_path / 'a'}/: 4 overlays")
    names = {"gradcam.png", "random.png", "random-grid.png", "refine.png"}
    assert set(os.listdir(tmp_path / "a")) == names | {"maps.h5", "side-by-side.png", "side-by-side.svg"}
    for name in names | {"side-by-side.png"}:
        assert min(Image.open(tmp_path / "a" / name).size) > 250
    with MapStore(tmp_path / "a/maps.h5") as maps:
        for bundle, label in (("cams", "gradcam"), ("controls", "random"), ("controls", "random-grid")):
            own = stored(bundle, label, image, "predicted")
            np.testing.assert_allclose(maps.maps(label, 0), own, rtol=1e-5, atol=1e-5 * np.abs(own).max())
        assert maps.rows.to_dict("records") == [{"image_id": image, "role": "asked", "target": maps.rows["target"][0]}]
        assert maps.stamp["study"] == "tiny"
    assert sorted(os.listdir(here)) == before


def test_a_file_gives_the_maps_of_the_same_image_of_the_study_for_any_class(here: Path, tmp_path: Path) -> None:
    image = an_image()
    with ImageStore(IMAGES) as images:
        Image.fromarray(images.pixels([image])[0, 0]).save(tmp_path / "x.png")
    true = pd.read_parquet("results/tiny/predictions/net-b/seed-1.parquet").set_index("image_id").loc[image, "label"]
    by_id = explained(tmp_path / "id", target=true)
    by_file = explained(tmp_path / "file", target=true, images=[str(tmp_path / "x.png")])
    assert f"explained: {true}" in by_id[0]
    assert by_file[0] == by_id[0].replace(image, "x.png").replace(f" true class: {true};", "")
    with MapStore(tmp_path / "id/maps.h5") as one, MapStore(tmp_path / "file/maps.h5") as other:
        np.testing.assert_array_equal(one.maps("gradcam", 0), other.maps("gradcam", 0))
        own = stored("cams", "gradcam", image, "true")
        np.testing.assert_allclose(one.maps("gradcam", 0), own, rtol=1e-5, atol=1e-5 * np.abs(own).max())
        assert one.stamp["images_digest"] != other.stamp["images_digest"]


def test_a_method_that_is_not_defined_is_left_out_and_none_at_all_is_refused(here: Path, tmp_path: Path) -> None:
    lines = explained(tmp_path / "a", methods=["cam", "gradcam"])
    assert lines[1].startswith("gradcam  ok")
    assert lines[2].startswith('cam      left out: "cam" is not defined for test_vit.r160_in1k')
    assert "cam.png" not in os.listdir(tmp_path / "a")
    with pytest.raises(MethodUndefined, match="none of the methods has a map of this network"):
        explained(tmp_path / "b", methods=["cam"])
    assert os.listdir(tmp_path) == ["a"]


def test_a_model_that_no_longer_fits_its_study_is_refused(here: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(Path(TINY).read_text().replace("image: {size: 64}", "image: {size: 96}"))
    with pytest.raises(
        ModelUnusable, match=r"was trained with 64 px, 1 channel\(s\) and 3 classes, but the study has 96"
    ):
        explained(tmp_path / "a", study=str(tmp_path / "study.yaml"))
    assert os.listdir(tmp_path) == ["study.yaml"]


def test_a_fault_while_drawing_leaves_the_earlier_answer(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained(tmp_path / "a", methods=["eigencam"])
    monkeypatch.setattr(overlay, "draw_maps_side_by_side", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explained(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
    assert "eigencam.png" in os.listdir(tmp_path / "a")
    with MapStore(tmp_path / "a/maps.h5") as maps:
        assert list(maps.methods) == ["eigencam"]


def test_a_folder_of_images_gives_the_maps_of_each_image_alone(here: Path, tmp_path: Path) -> None:
    folder, alone = tmp_path / "in", []
    folder.mkdir()
    with ImageStore(IMAGES) as images:
        for number, image in enumerate(images.ids[:3]):
            Image.fromarray(images.pixels([image])[0, 0]).save(folder / f"{number}.png")
    lines = explained(tmp_path / "all", images=[str(folder)], methods=["gradcam", "random"])
    assert lines[-1] == "3 images explained"
    for number in range(3):
        alone = tmp_path / f"alone{number}"
        explained(alone, images=[str(folder / f"{number}.png")], methods=["gradcam", "random"])
        assert sorted(os.listdir(tmp_path / f"all/{number}")) == sorted(os.listdir(alone))
        with MapStore(tmp_path / f"all/{number}/maps.h5") as one, MapStore(alone / "maps.h5") as other:
            for label in ("gradcam", "random"):
                own = other.maps(label, 0)
                np.testing.assert_allclose(one.maps(label, 0), own, rtol=1e-5, atol=1e-5 * np.abs(own).max())


def test_maps_are_scored_where_the_evidence_is_known(here: Path, tmp_path: Path) -> None:
    scores = pd.read_parquet("results/tiny/scores.parquet").query("arch == 'net-b' and seed == 1 and copy == 0")
    scores = scores[
        (scores["method"] == "gradcam") & (scores["metric"] == "saliency_score") & (scores["status"] == "ok")
    ]
    row = scores.iloc[0]
    true = pd.read_parquet("results/tiny/predictions/net-b/seed-1.parquet").set_index("image_id")["label"]
    image = str(row["image_id"])
    lines = explained(tmp_path / "a", images=[image], methods=["gradcam"], target=true[image])
    assert f"saliency_score: {row['value']:.3f}" in lines[-2]
    with ImageStore(IMAGES) as images:
        Image.fromarray(images.pixels([image])[0, 0]).save(tmp_path / "x.png")
    assert "saliency_score" not in "".join(
        explained(tmp_path / "b", images=[str(tmp_path / "x.png")], methods=["gradcam"])
    )


def test_an_image_unlike_the_training_images_is_named(here: Path, tmp_path: Path) -> None:
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    Image.fromarray(board).save(tmp_path / "board.png")
    lines = explained(tmp_path / "a", images=[str(tmp_path / "board.png")], methods=["gradcam"])
    assert lines[1].startswith("warning: board.png is far from the training images")
