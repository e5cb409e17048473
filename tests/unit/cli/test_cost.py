"""Cost scales what was measured by the work of a job, says what is done, and has no price where nothing was measured."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from refused import put

from gradfaith.cli.cost import forecast, jobs
from gradfaith.dag.plan import Plan
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import MapWriter

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def place(tmp_path: Path, root: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny study and nothing done."""
    (tmp_path / "config/studies").mkdir(parents=True)
    (tmp_path / "config/datasets").symlink_to(root / "config/datasets")
    (tmp_path / "config/studies/tiny.yaml").write_text(yaml.safe_dump(tiny))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(plan: Plan) -> list[jobs.PlannedJob]:
    size = jobs.count_images(plan)
    assert size is not None
    return list(jobs.plan_jobs(plan, size))


def done(job: jobs.PlannedJob, seconds: float, *, device: str = "cpu", epochs: tuple[float, ...] | None = None) -> None:
    """A job that ran: its files of 1000 bytes each, its benchmark, its log."""
    for path in (*job.outputs, job.benchmark, job.log):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    told = dict.fromkeys(job.outputs, "")
    if job.rule == "train":
        seen = (1.0,) * job.settings["epochs"] if epochs is None else epochs
        told[job.outputs[1]] = json.dumps({"spec": job.settings["spec"]})
        told[job.outputs[2]] = "epoch,seconds\n" + "".join(f"{n + 1},{took}\n" for n, took in enumerate(seen))
    for path, text in told.items():
        Path(path).write_text(text.ljust(1000, "\n"))
    if job.rule == "explain":
        rows = pd.DataFrame({"image_id": ["a"], "target": 0, "role": "both"})
        MapWriter(Path(job.maps), rows, {"settings": job.settings}).__enter__().__exit__(None, None, None)
    Path(job.benchmark).write_text(HEAD + f"{seconds}\t0:00:01\t{640.5}\t1\t1\t1\t1\t1\t1\t1\n")
    Path(job.log).write_text(f"pid 1 on here\ndevice: {device}, some processor\n")


def line(plan: Plan, place: Path, rule: str) -> forecast.RuleForecast:
    return next(one for one in forecast.forecast_study(plan, place)[0] if one.rule == rule)


def test_counts_are_those_of_the_study(tiny: dict[str, Any], place: Path) -> None:
    size = jobs.count_images(Plan.read(tiny, place))
    assert size is not None
    assert (size.images, size.train, size.explained) == (3 * 12 * 2, 36, 18)  # drawn from the dataset's options
    capped = jobs.count_images(Plan.read(put(tiny, "explain", {"max_images": 5}), place))
    assert capped is not None
    assert capped.explained == 5
    train = next(job for job in listed(Plan.read(put(tiny, "training/epochs", 4), place)) if job.rule == "train")
    assert train.work == 4 * (3 * 36 + 18) * 64**2


def test_work_counts_the_passes_that_methods_declare(tiny: dict[str, Any], place: Path) -> None:
    def passes(**methods: Any) -> float:
        study = put(put(tiny, "bundles/cams/methods", methods), "primary/method", next(iter(methods)))
        job = next(job for job in listed(Plan.read(study, place)) if job.rule == "explain" and job.kind == "cams")
        return job.work / 18 / 64**2 - 1  # of one image, beyond the forward that the bundle shares

    assert passes(gradcam={}) == 1
    assert passes(gradcam={}, layercam={}) == 2
    assert passes(smoothgrad={"options": {"samples": 7}}) == 14
    assert passes(integrated_gradients={"options": {"steps": 10}}) == 10 + 2 + 10
    assert passes(occlusion={"options": {"window": 0.5, "stride": 0.25}}) == 3**2 + 1


def test_a_training_is_priced_by_its_work(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    first, *_ = trainings = [job for job in listed(plan) if job.rule == "train"]
    assert line(plan, place, "train").hours is None
    done(first, forecast.START_UP_SECONDS + 36)
    found = line(plan, place, "train")
    assert (found.jobs, found.left, found.basis) == (4, 3, "1 record, other networks")
    assert found.hours == pytest.approx(3 * (forecast.START_UP_SECONDS + 36) / 3600)
    assert found.hours_from_other_networks == pytest.approx(2 * (forecast.START_UP_SECONDS + 36) / 3600)
    assert (found.memory, found.bytes_on_disk, found.bytes_to_come, found.jobs_without_size) == (
        640.5,
        3000,
        3000,
        2,
    )  # of its own network
    done(next(job for job in trainings if job.network != first.network), forecast.START_UP_SECONDS + 72)
    found = line(plan, place, "train")
    assert (found.left, found.basis) == (2, "2 records, same cells")
    assert found.hours == pytest.approx((2 * forecast.START_UP_SECONDS + 36 + 72) / 3600)


def test_records_of_another_study_are_scaled_to_this_one(tiny: dict[str, Any], place: Path) -> None:
    for job in listed(Plan.read(tiny, place)):
        if job.rule == "train":
            done(job, forecast.START_UP_SECONDS + 10)
    longer = Plan.read(put(put(tiny, "study", "longer"), "training/epochs", 6), place)
    assert line(longer, place, "train").hours == pytest.approx(4 * (forecast.START_UP_SECONDS + 6 * 10) / 3600)
    (place / "config/studies/tiny.yaml").unlink()
    lines, notes = forecast.forecast_study(longer, place)
    assert next(one for one in lines if one.rule == "train").hours is None
    assert notes == ["results/tiny has records that are not used: no study in config/ says what they are of"]


def test_only_records_of_a_gpu_make_gpu_hours_and_they_stand_first(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    trainings = [job for job in listed(plan) if job.rule == "train"]
    done(trainings[0], forecast.START_UP_SECONDS + 3600)
    said = forecast.format_forecast(*forecast.forecast_study(plan, place))
    assert "0.00 of them GPU-hours" in said
    assert "no record from a GPU, so no GPU-hours: train" in said
    done(trainings[2], forecast.START_UP_SECONDS + 360, device="cuda")
    found = line(plan, place, "train")
    assert found.device == "cuda"
    assert found.hours == pytest.approx(2 * (forecast.START_UP_SECONDS + 360) / 3600)
    said = forecast.format_forecast(*forecast.forecast_study(plan, place))
    assert f"{2 * 365 / 3600:.2f} of them GPU-hours (jobs that share a GPU count each in full)" in said


def test_maps_that_were_not_to_be_kept_are_done_when_the_scores_are_there(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(put(tiny, "keep/maps", False), place)
    assert line(plan, place, "explain").left == 8
    done(next(job for job in listed(plan) if job.rule == "merge_scores"), 7)
    assert line(plan, place, "explain").left == 0


def test_a_finished_study_costs_nothing_more_and_an_unknown_one_says_so(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    for job in listed(plan):
        done(job, 7)
    Path(plan.paths.splits).unlink()  # it was no table
    lines, _ = forecast.forecast_study(plan, place)
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
    lines, notes = forecast.forecast_study(Plan.read(put(tiny, "dataset", options), place), place)
    assert lines == []
    assert "say --images" in notes[0]
    assert forecast.forecast_study(Plan.read(put(tiny, "dataset", options), place), place, images=100)[0]


def test_an_architecture_without_methods_in_a_bundle_has_no_rate_and_harms_none(
    tiny: dict[str, Any], place: Path
) -> None:
    chain = {"methods": {"cam": {"only": ["net-a"]}}}
    plan = Plan.read(put(put(tiny, "bundles/chain", chain), "across", ["architectures"]), place)
    assert not all(job.work for job in listed(plan))
    for job in listed(plan):
        if job.rule in {"explain", "faithfulness"} and job.kind != "cams":
            done(job, forecast.START_UP_SECONDS + 1)
    found = line(plan, place, "explain")
    assert (found.left, found.jobs_without_size) == (4, 0)
    assert found.hours is not None


@pytest.mark.parametrize(
    "spoilt", ["", HEAD, "\0\t\n\xe9", HEAD + "-\t-\t-\n", HEAD.replace("s\th", "z\th") + "7\t0\t7\n"]
)
def test_a_benchmark_that_cannot_be_read_is_named_and_not_used(tiny: dict[str, Any], place: Path, spoilt: str) -> None:
    plan = Plan.read(tiny, place)
    first, second, *_ = [job for job in listed(plan) if job.rule == "train"]
    done(first, forecast.START_UP_SECONDS + 36)
    done(second, forecast.START_UP_SECONDS + 36)
    Path(first.benchmark).write_text(spoilt, encoding="latin-1")
    lines, notes = forecast.forecast_study(plan, place)
    assert next(one for one in lines if one.rule == "train").basis == "1 record, other networks"
    assert [note.partition(" is not used")[0] for note in notes] == [first.benchmark]


def test_a_study_whose_split_cannot_be_read_is_named_and_ends_nothing(tiny: dict[str, Any], place: Path) -> None:
    train = next(job for job in listed(Plan.read(tiny, place)) if job.rule == "train")
    done(train, forecast.START_UP_SECONDS + 36)
    split = place / "results/tiny/data/splits.parquet"
    split.parent.mkdir(parents=True)
    split.write_bytes(b"PAR1 cut")
    notes = forecast.forecast_study(Plan.read(put(tiny, "study", "other"), place), place)[1]
    assert len(notes) == 1
    assert "results/tiny has records that are not used: results/tiny/data/splits.parquet" in notes[0]


def test_a_training_counts_the_epochs_that_it_did_in_all_its_attempts(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(put(tiny, "training/epochs", 4), place)
    first = next(job for job in listed(plan) if job.rule == "train")
    done(first, forecast.START_UP_SECONDS + 3, epochs=(10, 10, 10, 10))  # the last attempt took 3 s
    assert line(plan, place, "train").hours == pytest.approx(3 * (forecast.START_UP_SECONDS + 40) / 3600)
    done(first, forecast.START_UP_SECONDS + 20, epochs=(10, 10))  # stopped early, or the study said 2 then
    assert line(plan, place, "train").hours == pytest.approx(3 * (forecast.START_UP_SECONDS + 40) / 3600)


def test_records_of_what_the_study_no_longer_says_are_left_out(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    train, maps = (next(job for job in listed(plan) if job.rule == rule) for rule in ("train", "explain"))
    done(train, 100)
    done(maps, 100)
    assert {line(plan, place, rule).basis[:8] for rule in ("train", "explain")} == {"1 record"}
    options = {"output_stride": 8, "drop_rate": 0.1}
    for key, value in (("architectures/net-a/options", options), ("explain", {"max_images": 5})):
        changed = Plan.read(put(deepcopy(tiny), key, value), place)
        lines, notes = forecast.forecast_study(changed, place)
        rule = "train" if key.startswith("arch") else "explain"
        assert next(one for one in lines if one.rule == rule).basis == "no record"
        assert notes == [f"not used, as what was done is not what the study's file says now: results/tiny/benchmarks/{name}"
                         for name in [f"{rule}/net-a_0{'_cams' * (rule == 'explain')}.tsv"]]  # fmt: skip


def test_larger_images_cost_by_their_pixels(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    for job in listed(plan):
        if job.rule in {"train", "explain"}:
            done(job, forecast.START_UP_SECONDS + 10)
    larger = Plan.read(put(put(tiny, "study", "larger"), "image/size", 128), place)
    found = line(larger, place, "train")
    assert (found.basis, found.hours_from_other_networks) == ("4 records, other image sizes", 0)
    assert found.hours == pytest.approx(4 * (forecast.START_UP_SECONDS + 4 * 10) / 3600)
    assert line(larger, place, "explain").hours == pytest.approx(8 * (forecast.START_UP_SECONDS + 4 * 10) / 3600)
    done(next(job for job in listed(plan) if job.rule == "pack_images"), 7)
    assert line(larger, place, "pack_images").basis == "1 record, same rule"
    assert found.bytes_to_come == 4 * 3000  # weights are as large as ever
    assert line(larger, place, "explain").bytes_to_come == pytest.approx(4 * line(plan, place, "explain").bytes_on_disk)


def test_seconds_of_waiting_for_a_gpu_are_not_a_job_s(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    first = next(job for job in listed(plan) if job.rule == "predict")
    done(first, forecast.START_UP_SECONDS + 36)
    alone = line(plan, place, "predict").hours
    done(first, forecast.START_UP_SECONDS + 36 + 500)
    log = Path(first.log)
    log.write_text(log.read_text().replace("device:", "waiting: every slot is taken\nwaited 500.0 s\ndevice:"))
    assert line(plan, place, "predict").hours == pytest.approx(alone)


def test_what_is_not_known_is_in_no_sum_and_is_said(tiny: dict[str, Any], place: Path) -> None:
    plan = Plan.read(tiny, place)
    total = len(listed(plan))
    said = forecast.format_forecast(*forecast.forecast_study(plan, place))
    assert f"not known for {total} of {total} jobs, for the others 0.00 hours of jobs" in said
    assert f"storage: 0 B there, not known for {total} of {total} jobs" in said
    done(next(job for job in listed(plan) if job.rule == "train"), forecast.START_UP_SECONDS + 3600)
    said = forecast.format_forecast(*forecast.forecast_study(plan, place))
    assert f"not known for {total - 4} of {total - 1} jobs" in said
    assert "2.00 of these hours are from other networks" in said


def test_images_are_taken_where_no_split_is_and_their_number_is_otherwise_said_to_be_ignored(
    tiny: dict[str, Any], place: Path
) -> None:
    plan = Plan.read(tiny, place)
    assert not forecast.forecast_study(plan, place, 500)[1]
    split = pd.DataFrame({"image_id": ["a", "b"], "group": ["g", "h"], "part": ["train", "test"], "label": "normal"})
    parquet.write(plan.paths.splits, split.reindex(columns=list(parquet.SPLITS)), parquet.SPLITS)
    assert "--images 500 is not used" in forecast.forecast_study(plan, place, 500)[1][0]
    assert forecast.format_forecast([], ["nothing known"]) == "note: nothing known\n"
