"""Cost scales what was measured by the work of a job, says what is done, and has no price where nothing was measured."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from test_study import put

from gradfaith import cost, work
from gradfaith.plan import Plan

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def place(tmp_path: Path, root: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny study and nothing done."""
    (tmp_path / "config/studies").mkdir(parents=True)
    (tmp_path / "config/datasets").symlink_to(root / "config/datasets")
    (tmp_path / "config/studies/tiny.yaml").write_text(yaml.safe_dump(tiny))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(plan: Plan) -> list[work.Job]:
    size = work.sizes(plan)
    assert size is not None
    return list(work.jobs(plan, size))


def done(job: work.Job, seconds: float, *, device: str = "cpu", size: int = 1000) -> None:
    """A job that ran: its files, its benchmark, its log."""
    for path in (*job.outputs, job.benchmark, job.log):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    for path in job.outputs:
        Path(path).write_bytes(b"x" * size)
    Path(job.benchmark).write_text(HEAD + f"{seconds}\t0:00:01\t{640.5}\t1\t1\t1\t1\t1\t1\t1\n")
    Path(job.log).write_text(f"pid 1 on here\ndevice: {device}, some processor\n")


def line(plan: Plan, place: Path, rule: str) -> cost.Line:
    return next(one for one in cost.predicted(plan, place)[0] if one.rule == rule)


def test_counts_are_those_of_the_study(tiny: dict[str, Any], place: Path) -> None:
    size = work.sizes(Plan.read(tiny, place))
    assert size is not None
    assert (size.images, size.train, size.explained) == (3 * 12 * 2, 36, 18)  # drawn from the dataset's options
    capped = work.sizes(Plan.read(put(tiny, "explain", {"max_images": 5}), place))
    assert capped is not None
    assert capped.explained == 5
    train = next(job for job in listed(Plan.read(put(tiny, "training/epochs", 4), place)) if job.rule == "train")
    assert train.work == 4 * (3 * 36 + 18)


def test_work_counts_the_passes_that_methods_declare(tiny: dict[str, Any], place: Path) -> None:
    def passes(**methods: Any) -> float:
        study = put(put(tiny, "bundles/cams/methods", methods), "primary/method", next(iter(methods)))
        job = next(job for job in listed(Plan.read(study, place)) if job.rule == "explain" and job.kind == "cams")
        return job.work / 18 - 1  # of one image, beyond the forward that the bundle shares

    assert passes(gradcam={}) == 1
    assert passes(gradcam={}, layercam={}) == 2
    assert passes(smoothgrad={"options": {"samples": 7}}) == 14
    assert passes(integrated_gradients={"options": {"steps": 10}}) == 10 + 2 + 10
    assert passes(occlusion={"options": {"window": 0.5, "stride": 0.25}}) == 3**2 + 1


def test_a_training_is_priced_by_its_work(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    first, *_ = trainings = [job for job in listed(plan) if job.rule == "train"]
    assert line(plan, place, "train").hours is None
    done(first, cost.START + 36)
    found = line(plan, place, "train")
    assert (found.jobs, found.left, found.basis) == (4, 3, "1 records, other networks")
    assert found.hours == pytest.approx(3 * (cost.START + 36) / 3600)
    assert (found.memory, found.kept, found.coming) == (640.5, 3000, 9000)
    done(next(job for job in trainings if job.network != first.network), cost.START + 72)
    found = line(plan, place, "train")
    assert (found.left, found.basis) == (2, "2 records, same cells")
    assert found.hours == pytest.approx((2 * cost.START + 36 + 72) / 3600)


def test_records_of_another_study_are_scaled_to_this_one(tiny: dict[str, Any], place: Path) -> None:
    for job in listed(Plan.read(tiny, place)):
        if job.rule == "train":
            done(job, cost.START + 10)
    longer = Plan.read(put(put(tiny, "study", "longer"), "training/epochs", 6), place)
    assert line(longer, place, "train").hours == pytest.approx(4 * (cost.START + 6 * 10) / 3600)
    (place / "config/studies/tiny.yaml").unlink()
    lines, notes = cost.predicted(longer, place)
    assert next(one for one in lines if one.rule == "train").hours is None
    assert notes == ["results/tiny has records, and no study in config/ says what they are of: not used"]


def test_only_records_of_a_gpu_make_gpu_hours_and_they_stand_first(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    trainings = [job for job in listed(plan) if job.rule == "train"]
    done(trainings[0], cost.START + 3600)
    said = cost.text(*cost.predicted(plan, place))
    assert "0.00 of them GPU-hours" in said
    assert "no record from a GPU, so no GPU-hours: train" in said
    done(trainings[2], cost.START + 360, device="cuda")
    found = line(plan, place, "train")
    assert found.device == "cuda"
    assert found.hours == pytest.approx(2 * (cost.START + 360) / 3600)
    assert f"{2 * 365 / 3600:.2f} of them GPU-hours" in cost.text(*cost.predicted(plan, place))


def test_maps_that_were_not_to_be_kept_are_done_when_the_scores_are_there(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(put(tiny, "keep/maps", False), place)
    assert line(plan, place, "explain").left == 8
    done(next(job for job in listed(plan) if job.rule == "collect"), 7)
    assert line(plan, place, "explain").left == 0


def test_a_finished_study_costs_nothing_more_and_an_unknown_one_says_so(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    for job in listed(plan):
        done(job, 7)
    Path(plan.layout.splits).unlink()  # it was no table
    lines, _ = cost.predicted(plan, place)
    assert [one.rule for one in lines if one.left] == ["split"]
    options = {"name": "mine"}
    (place / "config/datasets").unlink()
    (place / "config/datasets").mkdir()
    card = {
        "title": "t",
        "reader": "folder",
        "raw": "raw",
        "classes": ["a", "b"],
        "licence": "none",
        "evidence": "mask",
    }
    (place / "config/datasets/mine.yaml").write_text(yaml.safe_dump(card))
    lines, notes = cost.predicted(Plan.read(put(tiny, "dataset", options), place), place)
    assert lines == []
    assert "say --images" in notes[0]
    assert cost.predicted(Plan.read(put(tiny, "dataset", options), place), place, images=100)[0]
