"""The work of a job grows with what the study says and what was done: images, passes, epochs, pixels."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from refused import put

from gradfaith.dag import job_work
from gradfaith.dag.job_work import ImageCounts, StudyWork
from gradfaith.dag.plan import Plan
from gradfaith.storage import parquet

CELL = {"arch": "net-a", "seed": "0", "bundle": "cams", "battery": "masking"}


def work(document: dict[str, Any], folder: Path, rule: str, **wildcards: str) -> job_work.JobWork:
    plan = Plan.read(document, folder)
    counts = job_work.count_images(plan)
    assert counts is not None
    return StudyWork(plan, counts).of(rule, CELL | wildcards)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where nothing is done."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/datasets").symlink_to(root / "config/datasets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_images_are_counted_from_the_study_until_there_is_a_table(tiny: dict[str, Any], place: Path) -> None:
    drawn = 3 * 12 * 2  # from the dataset's options
    counts = job_work.count_images(Plan.read(tiny, place))
    assert counts == ImageCounts(drawn / 2, drawn / 4, drawn / 4, explained=drawn / 4)
    capped = job_work.count_images(Plan.read(put(deepcopy(tiny), "explain", {"max_images": 5}), place))
    assert capped is not None
    assert capped.explained == 5
    plan = Plan.read(tiny, place)
    groups = pd.DataFrame({"image_id": ["a", "b", "c", "d"], "group": "g", "version": 1})
    parquet.write(plan.paths.groups, groups, parquet.GROUPS)
    counts = job_work.count_images(plan)
    assert counts is not None
    assert counts.images == 4
    split = pd.DataFrame({"image_id": ["a", "b", "c"], "part": ["train", "train", "test"]})
    parquet.write(plan.paths.splits, split, parquet.SPLITS)
    assert job_work.count_images(plan, 500) == ImageCounts(2, 0, 1, explained=1)


def test_the_passes_are_those_that_methods_declare(tiny: dict[str, Any], place: Path) -> None:
    def passes(**methods: Any) -> float:
        study = put(put(deepcopy(tiny), "bundles/cams/methods", methods), "primary/method", next(iter(methods)))
        found = work(study, place, "explain")
        return found.units / 18 / 64**2 - 1  # of one image, beyond the forward that the bundle shares

    assert passes(gradcam={}) == 1
    assert passes(gradcam={}, layercam={}) == 2
    assert passes(smoothgrad={"options": {"samples": 7}}) == 14
    assert passes(integrated_gradients={"options": {"steps": 10}}) == 10 + 2 + 10
    assert passes(occlusion={"options": {"window": 0.5, "stride": 0.25}}) == 3**2 + 1


def test_work_grows_with_epochs_and_pixels_and_says_what_it_is_similar_to(tiny: dict[str, Any], place: Path) -> None:
    longer = work(put(deepcopy(tiny), "training/epochs", 4), place, "train")
    assert longer.units == 4 * (3 * 36 + 18) * 64**2
    assert (longer.network, longer.side, longer.amount) == ("test_resnet.r160_in1k", 64, 1)
    larger = work(put(deepcopy(tiny), "image/size", 128), place, "explain")
    assert larger.units == 4 * work(tiny, place, "explain").units
    assert larger.amount == 4 * work(tiny, place, "explain").amount
    assert work(tiny, place, "explain", bundle="controls").kind == "controls"
    assert work(tiny, place, "faithfulness").kind == "masking"


def test_a_rule_that_is_not_counted_is_one_unit_and_figures_are_one_family(tiny: dict[str, Any], place: Path) -> None:
    assert work(tiny, place, "new_rule") == job_work.UNCOUNTED
    assert job_work.rule_family("figure_panels") == "figure"
    assert work(tiny, place, "figure_panels").kind == "figure_panels"


def test_a_training_has_done_the_epochs_of_its_history_in_all_its_attempts(tiny: dict[str, Any], place: Path) -> None:
    document = put(deepcopy(tiny), "training/epochs", 4)
    (place / "history.csv").write_text("epoch,seconds\n1,10\n2,11\n")  # stopped early
    outputs = ("weights.safetensors", "card.json", "history.csv")
    job = SimpleNamespace(rule="train", wildcards=CELL, config=document, output=outputs)
    done = job_work.work_of_finished(job)
    assert done.units == work(document, place, "train").units / 2
    assert done.least_seconds == 21


def test_a_study_whose_images_nobody_counted_has_no_counts(
    tiny: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "config/datasets").unlink()
    (place / "config/datasets").mkdir()
    card = {
        "title": "t", "reader": "folder", "raw": "raw", "classes": ["a", "b"], "licence": "none", "evidence": "mask",
    }  # fmt: skip
    (place / "config/datasets/mine.yaml").write_text(yaml.safe_dump(card))
    plan = Plan.read(put(deepcopy(tiny), "dataset", {"name": "mine"}), place)
    assert job_work.count_images(plan) is None
    document = put(deepcopy(tiny), "dataset", {"name": "mine"})
    job = SimpleNamespace(rule="fetch", wildcards={}, config=document, output=())
    monkeypatch.setattr(job_work, "PROJECT", place)  # the Snakefile's folder, which holds config/
    assert job_work.work_of_finished(job) == job_work.UNKNOWN  # one unit would scale to a unit per image
    assert job_work.count_images(plan, 100) is not None


def test_a_finished_job_states_the_parameters_of_its_network(tiny: dict[str, Any], place: Path) -> None:
    """They are on the card of a model; a job that uses no network has none."""
    card = place / "results/tiny/models/net-a/seed-1/card.json"
    card.parent.mkdir(parents=True)
    card.write_text('{"parameters": 372979}')
    assert job_work.read_parameters(Plan.read(tiny, place)) == {"net-a": 372979}
    for rule, parameters in {"predict": 372979, "explain": 372979, "localization": 0, "estimate": 0}.items():
        job = SimpleNamespace(rule=rule, wildcards=CELL, config=tiny, output=())
        assert job_work.work_of_finished(job).parameters == parameters
    card.write_text("cut")
    assert job_work.read_parameters(Plan.read(tiny, place)) == {}


def test_contrast_classes_triple_the_maps(root: Path, place: Path) -> None:
    study = yaml.safe_load((root / "config/studies/funnybirds-small.yaml").read_text()) | {"claims": {}}
    counts, cell = ImageCounts(80, 20, 36, explained=36), CELL | {"arch": "resnet18", "bundle": "maps"}
    tripled = StudyWork(Plan.read(study, place), counts).of("explain", cell)
    study["batteries"]["parts"]["metrics"] = ["funnybirds_correctness"]
    study["composite"].remove("funnybirds_score")
    study |= {"meta": None, "figures": {}, "primary": study["primary"] | {"metric": "arcc"}}
    assert tripled.units == 3 * StudyWork(Plan.read(study, place), counts).of("explain", cell).units
