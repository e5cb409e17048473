"""A job holds its log while it lives, ends with its Snakemake, and says a refusal plainly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from sleeping_job import SLEEPER, start_job, wait_until

from gradfaith.runtime import job
from gradfaith.runtime.folder_lock import process_start

PARENT = """#!{python}
import subprocess, sys
from pathlib import Path
from gradfaith.runtime.job import prepare_environment
prepare_environment(Path.cwd())
subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]])
"""


def attempt(log: Path) -> subprocess.CompletedProcess[str]:
    script = f"from gradfaith.runtime.job import running\nwith running({str(log)!r}):\n    print('ran')\n"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "results/tiny/logs/explain/net_0.log"


@pytest.fixture
def sleeper(log: Path):
    process = start_job(log, sys.executable, "-c", SLEEPER, str(log))
    yield process
    process.kill()
    process.wait()


def test_a_second_job_on_the_same_log_is_refused_until_the_first_is_gone(sleeper, log: Path, tmp_path: Path) -> None:
    before = log.read_text()
    assert job.logs_of_living_jobs(tmp_path) == [log]
    second = attempt(log)
    assert second.returncode == 1
    assert second.stderr.startswith("JobAlive: ")
    assert f"pid {sleeper.pid} on " in second.stderr
    assert "make resume" in second.stderr
    assert log.read_text() == before  # the holder's words were not wiped
    sleeper.kill()  # -9: nobody cleans up
    sleeper.wait()
    assert job.logs_of_living_jobs(tmp_path) == []
    assert attempt(log).returncode == 0
    assert log.read_text().endswith("\nran\n")


def test_logs_of_the_dead_are_no_living_jobs(log: Path, tmp_path: Path) -> None:
    log.parent.mkdir(parents=True)
    log.write_text("pid 1 on here\n")
    assert job.logs_of_living_jobs(tmp_path) == []
    assert log.read_text() == "pid 1 on here\n"


def test_a_job_whose_snakemake_died_before_it_began_does_not_begin(log: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    environment = {**os.environ, job.PARENT_VARIABLE: f"{os.uname().nodename} {gone.pid} {time.time()}"}
    command = [sys.executable, "-c", SLEEPER, str(log)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert f"(process {gone.pid}) is gone" in done.stderr
    assert not log.exists()


def test_when_a_process_began_is_no_matter_of_the_clock(sleeper) -> None:
    mine, theirs = process_start(os.getpid()), process_start(sleeper.pid)
    assert mine
    assert theirs
    assert mine != theirs
    assert process_start(os.getpid()) == mine
    sleeper.kill()
    sleeper.wait()
    assert not process_start(sleeper.pid)
    if sys.platform == "linux":
        boot = psutil.boot_time()
        assert mine.isdigit()
        assert abs(boot + int(mine) / os.sysconf("SC_CLK_TCK") - psutil.Process().create_time()) < 5


def test_a_job_ends_with_its_snakemake(log: Path, tmp_path: Path) -> None:
    stand_in = tmp_path / "snakemake"
    stand_in.write_text(PARENT.format(python=sys.executable))
    stand_in.chmod(0o755)
    parent = start_job(log, sys.executable, str(stand_in), str(log), SLEEPER)
    child = psutil.Process(int(log.read_text().split()[1]))
    assert child.ppid() == parent.pid
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    try:
        wait_until(
            lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE,
            2,
            "the job outlived its Snakemake",
        )
    finally:
        if child.is_running():
            child.kill()


def test_a_job_started_by_hand_outlives_nobody_s_end(sleeper) -> None:
    time.sleep(0.3)
    assert sleeper.poll() is None


def failed(log: Path, body: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """A job that fails, and what is in its log below the line that names it."""
    script = f"from gradfaith.errors import *\nfrom gradfaith.runtime.job import running\nwith running({str(log)!r}):\n    {body}"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    return ended, log.read_text().split("\n", 1)[1]


def test_an_error_is_in_the_log_without_a_traceback_and_nowhere_else(log: Path) -> None:
    """Snakemake shows the log of a job that failed."""
    ended, said = failed(log, 'raise BrokenStore(problem="half a file.", reason="Because.", fix="Do this.")')
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")
    assert said == f"BrokenStore: half a file.\n  Because.\n  Do this.\n{job.NO_RETRY}\n"
    assert job.last_line(log) == job.NO_RETRY


def test_an_error_that_another_attempt_may_not_meet_says_nothing_of_attempts(log: Path) -> None:
    _, said = failed(log, 'raise TrainingInterrupted(problem="SIGTERM came.", reason="Because.", fix="Run again.")')
    assert said == "TrainingInterrupted: SIGTERM came.\n  Because.\n  Run again.\n"


def test_another_exception_has_its_traceback_in_the_log(log: Path) -> None:
    ended, said = failed(log, "1 / 0")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")
    assert said.startswith("Traceback (most recent call last):\n")
    assert said.endswith("\nZeroDivisionError: division by zero\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_error_that_the_log_cannot_take_is_printed(log: Path) -> None:
    log.parent.mkdir(parents=True)
    body = 'import sys; sys.stdout.flush(); import os; os.dup2(os.open("/dev/full", os.O_WRONLY), sys.stdout.fileno()); 1 / 0'
    ended, said = failed(log, body)
    assert said == ""
    assert ended.stderr.endswith("\nZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_job_without_a_traceback_and_its_drafts_go(log: Path, tmp_path: Path, name: str) -> None:
    body = f"""import signal; from gradfaith.storage.atomic import replacing
    with replacing({str(tmp_path / "output")!r}) as draft:
        draft.touch(); signal.raise_signal(signal.{name})"""
    ended, said = failed(log, body)
    assert (ended.returncode, ended.stderr) == (128 + signal.Signals[name], "")
    assert said == f"interrupted by {name}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_signal_that_is_ignored_stays_ignored(log: Path) -> None:
    script = f"""
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from gradfaith.runtime.job import running
with running({str(log)!r}):
    signal.raise_signal(signal.SIGHUP)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_ctrl_c_while_a_job_imports_ends_it_without_a_traceback() -> None:
    script = "import signal; from gradfaith.runtime.job import begin; begin(); signal.raise_signal(signal.SIGINT)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_garbage_is_not_collected_while_a_job_imports(log: Path) -> None:
    script = f"""
import gc
from gradfaith.runtime import job
job.begin()
assert not gc.isenabled()
imported = [[number] for number in range(1000)]
with job.running({str(log)!r}):
    assert gc.isenabled() and gc.get_freeze_count() > 1000
    kept = gc.get_freeze_count()
with job.running({str(log)!r}):
    assert gc.get_freeze_count() <= kept, "only what was there before the work stays out"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr + log.read_text()


def test_a_log_begins_anew_and_output_goes_there(log: Path) -> None:
    script = (
        f"from gradfaith.runtime.job import running\nwith running({str(log)!r}):\n    print('said')\nprint('outside')\n"
    )
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        assert ended.stdout == "outside\n"
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert lines[1] == "said"


@pytest.mark.parametrize("end", ["1 / 0", "os.kill(os.getpid(), 9)"])
def test_an_attempt_that_fails_leaves_its_log_whatever_ends_it_and_the_last_five_stay(
    log: Path, tmp_path: Path, end: str
) -> None:
    """Snakemake deletes the log before the next attempt."""
    script = f"import os\nfrom gradfaith.runtime.job import running\nwith running({str(log)!r}):\n    print('why', flush=True)\n    {end}\n"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60).returncode
    log.unlink()
    (left,) = log.parent.iterdir()
    assert left.name.startswith("net_0.attempt-2")
    assert "\nwhy\n" in left.read_text()
    for number in range(7):
        left.with_name(f"net_0.attempt-1970{number}").touch()
    other = left.with_name("net_01.attempt-1970")
    other.touch()
    assert attempt(log).returncode == 0
    assert {path.name for path in log.parent.iterdir()} == {
        log.name, other.name, left.name, *(f"net_0.attempt-1970{number}" for number in (4, 5, 6)),
    }  # fmt: skip
    assert job.logs_of_living_jobs(tmp_path) == []


def test_where_a_file_has_one_name_only_a_job_works_as_before(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with job.running(str(log)):
        sys.stdout.write("said\n")
    assert log.read_text().endswith("\nsaid\n")
    assert list(log.parent.iterdir()) == [log]
