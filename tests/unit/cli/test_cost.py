"""Cost scales what was measured by the work of a job, says what is left, and has no forecast where nothing was measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from gradfaith.cli.cost import forecast
from gradfaith.cli.cost.forecast import PlannedJob, RuleForecast
from gradfaith.runtime.job_record import JobRecord, JobWork

START_UP = 5.0
TRAIN = JobWork(units=100, amount=1, network="resnet", side=64, parameters=1_000_000)
OTHER_TRAIN = replace(TRAIN, network="vit", parameters=3_000_000)
LARGE_TRAIN = replace(TRAIN, network="vit_large", parameters=100_000_000)
EXPLAIN = JobWork(units=50, amount=200, network="resnet", side=64, kind="cams")


def job(rule: str, work: JobWork, *, left: bool = True, outputs: tuple[Path, ...] = ()) -> PlannedJob:
    return PlannedJob(rule, outputs, left, on_gpu=rule in {"train", "explain"}, work=work)


def record(rule: str, work: JobWork, seconds: float, *, device: str = "cpu", size: int = 3000) -> JobRecord:
    return JobRecord(rule, {}, seconds, START_UP, 0.0, 640.5, size, device, 1, work)


def line(planned: list[PlannedJob], records: list[JobRecord], rule: str = "train") -> RuleForecast:
    return next(one for one in forecast.forecast_jobs(planned, records) if one.rule == rule)


def said(planned: list[PlannedJob], records: list[JobRecord]) -> str:
    return forecast.format_forecast(forecast.forecast_jobs(planned, records), [])


def test_a_job_is_forecast_by_its_work() -> None:
    planned = [
        job("train", TRAIN, left=False),
        job("train", TRAIN),
        job("train", OTHER_TRAIN),
        job("train", OTHER_TRAIN),
    ]
    assert (line(planned, []).hours, line(planned, []).jobs_without_hours) == (0, 3)
    found = line(planned, [record("train", TRAIN, 36)])
    assert (found.jobs, found.left, found.basis) == (4, 3, "1 record, similar networks")
    assert found.hours == pytest.approx(3 * (START_UP + 36) / 3600)
    assert found.hours_from_similar_networks == pytest.approx(2 * (START_UP + 36) / 3600)
    assert found.memory == 640.5
    assert found.bytes_to_come == 3000 + 2 * 9000  # weights grow with the parameters
    found = line(planned, [record("train", TRAIN, 36), record("train", OTHER_TRAIN, 72)])
    assert (found.left, found.basis) == (3, "2 records, same cells")
    assert found.hours == pytest.approx((3 * START_UP + 36 + 2 * 72) / 3600)


@pytest.mark.parametrize(
    "other",
    [
        LARGE_TRAIN,  # a hundred times the parameters
        replace(OTHER_TRAIN, parameters=4_000_001),
        replace(OTHER_TRAIN, parameters=0),  # not known
        replace(TRAIN, side=129),  # more than four times the pixels
        replace(TRAIN, side=31),
    ],
)
def test_a_network_or_an_image_of_another_magnitude_is_unknown(other: JobWork) -> None:
    found = line([job("train", other)], [record("train", TRAIN, 36)])
    assert (found.hours, found.jobs_without_hours, found.jobs_without_size) == (0, 1, 1)
    assert (found.basis, found.memory) == ("1 record, none comparable", 0)
    text = said([job("train", other), job("train", TRAIN)], [record("train", TRAIN, 3595)])
    assert "unknown for 1 of 2 jobs, for the others 1.00 hours of jobs" in text
    assert "unknown: train. No finished job of these rules is of the same network" in text
    assert text.splitlines()[1].split()[4:8] == ["1.00", "(1", "of", "2)"]
    assert line([job("train", replace(TRAIN, side=128))], [record("train", TRAIN, 36)]).jobs_without_hours == 0


def test_maps_of_another_network_have_no_known_size() -> None:
    similar = replace(EXPLAIN, network="vit", parameters=3_000_000)
    known = replace(EXPLAIN, parameters=1_000_000)
    found = line([job("explain", similar)], [record("explain", known, 10)], "explain")
    assert (found.jobs_without_hours, found.jobs_without_size) == (0, 1)
    weights = JobWork(1, 1, network="resnet50")
    found = line([job("weights", replace(weights, network="vit"))], [record("weights", weights, 10)], "weights")
    assert (found.jobs_without_hours, found.jobs_without_size) == (1, 1)


def test_a_record_of_other_work_is_scaled_and_its_start_up_is_not() -> None:
    planned = [job("train", replace(TRAIN, units=600))]
    assert line(planned, [record("train", TRAIN, 10)]).hours == pytest.approx((START_UP + 6 * 10) / 3600)


def test_larger_images_cost_by_their_pixels() -> None:
    larger = replace(EXPLAIN, units=4 * EXPLAIN.units, amount=4 * EXPLAIN.amount, side=128)
    found = line([job("explain", larger)], [record("explain", EXPLAIN, 10)], "explain")
    assert (found.basis, found.hours_from_similar_networks) == ("1 record, other image sizes", 0)
    assert found.hours == pytest.approx((START_UP + 4 * 10) / 3600)
    assert found.bytes_to_come == 4 * 3000


def test_only_records_of_a_gpu_make_gpu_hours_and_they_stand_first() -> None:
    planned, on_cpu = [job("train", TRAIN), job("train", TRAIN)], record("train", TRAIN, 3600)
    assert "0.00 of them GPU-hours" in said(planned, [on_cpu])
    assert "no record from a GPU, so no GPU-hours: train" in said(planned, [on_cpu])
    on_gpu = record("train", TRAIN, 360, device="cuda")
    found = line(planned, [on_cpu, on_gpu])
    assert found.device == "cuda"
    assert found.hours == pytest.approx(2 * (START_UP + 360) / 3600)
    assert f"{2 * 365 / 3600:.2f} of them GPU-hours (jobs that share a GPU count each in full)" in said(
        planned, [on_gpu]
    )


def test_what_is_on_disk_is_counted_and_what_is_done_costs_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"0" * 1000)
    done = job("train", TRAIN, left=False, outputs=(tmp_path / "weights", tmp_path / "deleted"))
    found = line([done], [record("train", TRAIN, 36)])
    assert (found.left, found.hours, found.bytes_on_disk, found.bytes_to_come) == (0, 0, 1000, 0)


def test_figures_are_one_line_and_stand_where_the_last_of_them_is() -> None:
    planned = [
        job("figure", JobWork(1, 1, kind="figure_audit")),
        job("train", TRAIN),
        job("figure", JobWork(1, 1, kind="figure_panels")),
    ]
    records = [record("figure_audit", JobWork(1, 1, kind="figure_audit"), 7)]
    assert [one.rule for one in forecast.forecast_jobs(planned, records)] == ["train", "figure"]
    assert line(planned, records, "figure").hours == pytest.approx(2 * (START_UP + 7) / 3600)


def test_a_record_without_work_gives_no_rate() -> None:
    assert line([job("train", TRAIN)], [record("train", replace(TRAIN, units=0), 7)]).jobs_without_hours == 1


def test_what_is_not_known_is_in_no_sum_and_is_said() -> None:
    planned = [job("train", TRAIN), job("train", OTHER_TRAIN), job("explain", EXPLAIN)]
    text = said(planned, [])
    assert "unknown for 3 of 3 jobs, for the others 0.00 hours of jobs" in text
    assert "disk: 0 B used, unknown for 3 of 3 jobs" in text
    assert "3 jobs, 0 done, 3 left" in text
    assert text.splitlines()[1].split()[4] == "unknown"
    text = said(planned, [record("train", TRAIN, 3595)])
    assert "unknown for 1 of 3 jobs, for the others 2.00 hours" in text
    assert "1.00 of these hours are from similar networks: parameters and pixels within a factor of 4" in text
    assert "unknown: explain. " in text
    assert forecast.format_forecast([], ["nothing known"]) == "note: nothing known\n"
