"""A finished job leaves what it took; a failed one leaves the record of the last success; what cannot be read is named."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradfaith.runtime import job_record
from gradfaith.runtime.job_record import RECORD_FORMAT

LOG = "results/tiny/logs/explain/net.a/0/cams.log"
SCRIPT = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from gradfaith.runtime.job import running
from gradfaith.runtime.gpu_slots import facts
from gradfaith.runtime.job_record import JobRecorder, JobWork
log, ending = sys.argv[1:]
job = SimpleNamespace(rule="explain", threads=2, config={}, wildcards={"arch": "net.a", "seed": 0}, log=[log], output=["maps.h5"])
def work(_job):
    if ending == "work":
        raise FileNotFoundError("the study is gone")
    return JobWork(12, 3, "resnet18", 64, "cams")
with running(log, JobRecorder(job, work)):
    Path("maps.h5").write_bytes(b"0" * 1000)
    facts.device, facts.waited_seconds = "cuda", 0.2
    time.sleep(0.5)
    if ending == "error":
        1 / 0
"""


def run(folder: Path, ending: str = "well") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, LOG, ending], cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "results/tiny/logs/explain/net.a/0/cams.job.json"


def test_a_finished_job_leaves_what_it_took(tmp_path: Path, file: Path) -> None:
    started = time.monotonic()
    done = run(tmp_path)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    (found,), notes = job_record.read_records(tmp_path)
    assert notes == []
    assert (found.rule, found.wildcards, found.threads) == ("explain", {"arch": "net.a", "seed": "0"}, 2)
    assert (found.device, found.output_bytes, found.work.units, found.work.network) == ("cuda", 1000, 12, "resnet18")
    assert 0.3 <= found.seconds < seconds - 0.2  # what it waited for a GPU is no work
    assert 0 < found.start_up_seconds < seconds
    assert 5 < found.memory_mb < 2000
    assert sorted(path.name for path in file.parent.iterdir()) == ["cams.job.json", "cams.log"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_the_memory_is_the_job_s_and_not_that_of_the_process_that_started_it(tmp_path: Path) -> None:
    parent = "import subprocess, sys; held = b'0' * 500_000_000; subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
    subprocess.run([sys.executable, "-c", parent, SCRIPT, LOG, "well"], cwd=tmp_path, check=True, timeout=60)
    (found,), _ = job_record.read_records(tmp_path)
    assert found.memory_mb < 400


def test_a_failed_attempt_keeps_the_record_of_the_last_success(tmp_path: Path, file: Path) -> None:
    assert run(tmp_path, "error").returncode == 1
    assert not file.exists()
    run(tmp_path)
    before = file.read_bytes()
    assert run(tmp_path, "error").returncode == 1
    assert file.read_bytes() == before


def test_a_job_whose_record_cannot_be_written_has_succeeded(tmp_path: Path, file: Path) -> None:
    done = run(tmp_path, "work")
    assert (done.returncode, done.stderr, file.exists()) == (0, "", False)
    assert (
        "the time and memory of this job are not recorded: FileNotFoundError: the study is gone"
        in (tmp_path / LOG).read_text()
    )


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("\0\xe9", "cannot be read"),
        ({"seconds": "many"}, "cannot be read"),
        ({"work": {"units": 1}}, "cannot be read"),
        ({"format": RECORD_FORMAT + 1}, f"this version of GradFaith reads format {RECORD_FORMAT}"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(
    tmp_path: Path, file: Path, spoilt: str | dict[str, object], why: str
) -> None:
    run(tmp_path)
    whole = json.loads(file.read_text())
    file.write_text(spoilt if isinstance(spoilt, str) else json.dumps(whole | spoilt), encoding="latin-1")
    file.with_name("other.job.json").write_text(json.dumps(whole))
    found, notes = job_record.read_records(tmp_path)
    assert len(found) == 1
    (note,) = notes
    assert note.startswith("results/tiny/logs/explain/net.a/0/cams.job.json not used: ")
    assert why in note
