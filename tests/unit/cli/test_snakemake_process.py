"""What Snakemake says of its jobs and of its own records, whichever way it keeps them; an answer of another form is an error."""

import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from gradfaith.cli import snakemake_process
from gradfaith.errors import SnakemakeFailed

LONG = "results/s/maps/" + "an-architecture-with-a-long-name/" * 6 + "seed-0/cams.h5"
SNAKEFILE = f"""
configfile: "study.yaml"
if config.get("broken"):
    raise WorkflowError("StudyInvalid: seeds are missing.")
rule all:
    input: "results/s/scores.parquet"
rule merge:
    input: expand("results/s/{{arch}}/{{seed}}.h5", arch=["a", "b_0"], seed=[0, 1]), "{LONG}"
    output: "results/s/scores.parquet"
    log: "merge.log"
    shell: "touch {{output}}"
rule explain:
    output: temp("results/s/{{arch}}/{{seed}}.h5") if config.get("temp") else "results/s/{{arch}}/{{seed}}.h5"
    log: "{{arch}}/{{seed}}.log"
    threads: 3
    resources: gpu=config.get("gpu", 0), mem_mb=lambda wildcards, attempt: 500 * attempt
    params: config.get("option")
    shell: "touch {{output}}"
rule long:
    output: "{LONG}"
    log: "long.log"
    shell: "touch {{output}}"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "study.yaml").write_text("option: 1\n")
    return tmp_path


def make(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def left(folder: Path, study: str | None = None) -> list[str]:
    return sorted(job.rule for job in snakemake_process.list_jobs(folder, study) if job.left)


def test_every_job_is_listed_with_what_it_asks_for_and_what_is_left(place: Path) -> None:
    jobs = snakemake_process.list_jobs(place)
    assert sorted(job.rule for job in jobs) == ["explain"] * 4 + ["long", "merge"]
    assert all(job.left for job in jobs)
    (one,) = [job for job in jobs if job.wildcards == {"arch": "b_0", "seed": "1"}]
    assert (one.rule, one.outputs, one.threads) == ("explain", ("results/s/b_0/1.h5",), 3)
    assert (one.resources["gpu"], one.resources["mem_mb"]) == (0, 500)
    assert not (place / "results").exists()


def test_what_is_done_is_not_left_and_what_is_stale_is(place: Path) -> None:
    make(place)
    assert left(place) == []
    assert len(snakemake_process.list_jobs(place)) == 6
    (place / "other.yaml").write_text("option: 2\n")
    assert left(place, "other.yaml") == ["explain"] * 4 + ["merge"]
    (place / LONG).unlink()
    assert left(place) == []  # as a run: nobody asks for it
    (place / "results/s/scores.parquet").unlink()
    assert left(place) == ["long", "merge"]


def test_a_file_that_is_not_kept_is_not_left(place: Path) -> None:
    (place / "study.yaml").write_text("temp: true\n")
    make(place)
    assert not (place / "results/s/a/0.h5").exists()
    assert left(place) == []


def test_a_lock_and_a_profile_s_quiet_hide_no_job(place: Path) -> None:
    (place / "profiles/default").mkdir(parents=True)
    (place / "profiles/default/config.yaml").write_text("quiet: [rules, progress]\ncores: 1\n")
    (place / ".snakemake/locks").mkdir(parents=True)
    for kind in ("input", "output"):
        (place / f".snakemake/locks/0.{kind}.lock").write_text("results/s/scores.parquet\n")
    assert len(left(place)) == 6
    assert len(list((place / ".snakemake/locks").iterdir())) == 2


def test_a_refusal_of_snakemake_is_told_in_three_parts(place: Path) -> None:
    (place / "study.yaml").write_text("broken: true\n")
    with pytest.raises(SnakemakeFailed) as refused:
        snakemake_process.list_jobs(place)
    assert "StudyInvalid: seeds are missing." in refused.value.problem
    assert "snakemake -n" in refused.value.fix
    (place / "Snakefile").unlink()
    with pytest.raises(SnakemakeFailed, match="No Snakefile found"):
        snakemake_process.list_jobs(place)


def test_a_missing_executable_is_told_in_three_parts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    with pytest.raises(SnakemakeFailed) as missing:
        snakemake_process.list_jobs(place)
    assert "neither beside" in missing.value.problem
    assert "pip install" in missing.value.fix


@pytest.mark.parametrize("answer", ["print('job_info: explain')", "import json; print(json.dumps({'total': 6}))", ""])
def test_jobs_told_in_another_form_are_an_error_and_never_an_empty_list(
    place: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """As a later Snakemake might answer: a stand-in for its executable."""
    stand_in = place / "bin/snakemake"
    stand_in.parent.mkdir()
    stand_in.write_text(f"""#!{sys.executable}
import sys
sys.stdout = open(sys.argv[sys.argv.index("--logger-gradfaith-file") + 1], "w")
{answer}
""")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in.with_name("python")))
    with pytest.raises(SnakemakeFailed, match="cannot read Snakemake's answer"):
        snakemake_process.list_jobs(place)


@pytest.mark.parametrize("backend", ["file", "db"])
def test_results_of_which_snakemake_has_no_record_are_listed_whatever_keeps_its_records(
    place: Path, backend: str
) -> None:
    (place / "profiles/default").mkdir(parents=True)
    (place / "profiles/default/config.yaml").write_text(f"persistence-backend: {backend}\ncores: 1\n")
    make(place)
    assert (place / ".snakemake/metadata.db").exists() == (backend == "db")
    assert snakemake_process.find_unrecorded(place) == []
    make(place, "--cleanup-metadata", "results/s/b_0/1.h5", LONG)
    lost = snakemake_process.find_unrecorded(place)
    assert sorted(map(str, lost)) == ["results/s/b_0/1.h5", LONG]
    (place / LONG).unlink()
    assert snakemake_process.find_unrecorded(place) == [Path("results/s/b_0/1.h5")]


def test_a_record_that_was_cut_as_it_was_written_is_none(place: Path) -> None:
    make(place)
    name = urlsafe_b64encode(b"results/s/b_0/1.h5").decode()
    (place / ".snakemake/metadata" / name).write_text("{")
    assert snakemake_process.find_unrecorded(place) == [Path("results/s/b_0/1.h5")]


def test_results_that_no_snakemake_made_here_are_nobody_s_fault(place: Path) -> None:
    (place / "results/s").mkdir(parents=True)
    (place / "results/s/scores.parquet").write_text("")
    assert snakemake_process.find_unrecorded(place) == []
    (place / ".snakemake").mkdir()
    assert snakemake_process.find_unrecorded(place) == []


def test_many_are_counted() -> None:
    files = [Path(str(number)) for number in range(7)]
    said = "there is no record of how these files were made: 0, 1, 2, 3, 4 and 2 more"
    assert snakemake_process.describe_unrecorded(files) == said
