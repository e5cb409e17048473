"""What Snakemake prints of an error, and which attempts it makes; tests/workflow asks the same of real runs."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gradfaith.errors import BrokenStore
from gradfaith.runtime import job, workflow_run
from gradfaith.runtime.workflow_run import WorkflowRun

BROKEN = {"problem": "half a file.", "reason": "Because.", "fix": "Do this."}


class RuleException(Exception):
    """Named as Snakemake's."""


class CondaError(Exception):
    """Another error of Snakemake's."""


@dataclass
class Attempted:
    """What a scheduler knows of a job at work."""

    jobid: str
    log: list[str]
    attempt: int = 1
    restart_times: int = 2


@dataclass
class Workflow:
    """What is read of Snakemake's object."""

    running: set[Any] = field(default_factory=set)
    overwrite_configfiles: tuple[str, ...] = ()

    @property
    def scheduler(self) -> "Workflow":
        return self


@pytest.fixture
def workflow() -> Iterator[Workflow]:
    """A workflow whose run filters what is printed."""
    found = Workflow()
    run = WorkflowRun(found)
    yield found
    logging.getLogger(workflow_run.SNAKEMAKE_LOGGER).removeFilter(run)


@pytest.fixture
def printed(workflow: Workflow) -> Iterator[list[logging.LogRecord]]:
    """What is printed."""
    records: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), logging.getLogger(workflow_run.SNAKEMAKE_LOGGER)
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def say(error: BaseException, cause: BaseException | None = None) -> None:
    """Print an error as Snakemake does: where it is caught."""
    try:
        raise error from cause
    except BaseException as caught:
        logging.getLogger(workflow_run.SNAKEMAKE_LOGGER).error(f"wrapped: {caught}", extra={"event": "error"})


def test_an_error_that_a_user_can_fix_is_printed_as_it_is_wherever_it_was_raised(printed) -> None:
    say(BrokenStore(**BROKEN))
    say(CondaError("in a rule's input"), BrokenStore(**BROKEN))
    assert [record.getMessage() for record in printed] == ["BrokenStore: half a file.\n  Because.\n  Do this."] * 2


def test_of_a_script_that_failed_only_the_log_is_printed(printed) -> None:
    say(RuleException("line 24"), subprocess.CalledProcessError(1, "python"))
    assert not printed
    say(RuleException("line 24"), FileNotFoundError("explain.py"))
    say(CondaError("no environment"), subprocess.CalledProcessError(1, "conda"))
    assert [record.getMessage() for record in printed] == ["wrapped: line 24", "wrapped: no environment"]


def failed(**told: Any) -> None:
    logging.getLogger(workflow_run.SNAKEMAKE_LOGGER).error("failed", extra=told)


@pytest.mark.parametrize(("last", "attempt"), [(job.NO_RETRY, 3), ("Killed", 1)])
def test_a_job_that_would_fail_again_has_no_attempt_left(
    workflow: Workflow, printed, tmp_path: Path, last: str, attempt: int
) -> None:
    """And the log of a cluster's job is left out where the job's own says all."""
    own, of_cluster, others = (str(tmp_path / name) for name in ("own", "cluster", "other"))
    Path(own).write_text(f"pid 7\n{last}\n")
    Path(others).write_text(f"pid 8\n{job.NO_RETRY}\n")  # of an earlier run; this job waits in a queue
    one, other = (type("Job", (), vars(Attempted(name, [log]))) for name, log in (("1", own), ("2", others)))
    workflow.running |= {one, other}
    failed(event="job_error", jobid="1", log=[own, of_cluster])
    assert (one.attempt, other.attempt) == (attempt, 1)
    assert printed[0].log == ([own] if attempt == 3 else [own, of_cluster])


def test_the_error_of_a_group_leaves_the_logs_to_its_jobs(workflow: Workflow, printed, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{job.NO_RETRY}\n")
    group = type("Group", (), {"jobs": [Attempted("1", [str(log)])], "attempt": 1, "restart_times": 2})
    workflow.running.add(group)
    failed(event="group_error", groupid="g", aux_logs=[], job_error_info=[{"rule_name": "explain", "log": [str(log)]}])
    failed(event="job_error", jobid="1", log=[str(log)])
    assert printed[0].job_error_info == [{"rule_name": "explain", "log": []}]
    assert group.attempt == 3


def test_a_record_of_another_snakemake_is_printed(printed) -> None:
    failed(event="job_error")
    assert "failed\n(workflow_run.py could not filter this message: KeyError('jobid'))" in printed[0].getMessage()


def test_a_job_that_lost_its_first_signal_gets_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / workflow_run.SCRIPT_FOLDER
    folder.mkdir(parents=True)
    script = folder / "job.py"
    script.write_text(
        "import signal, sys, time\n"
        "asked = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7) if asked else asked.append(1))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.01)\n"
    )
    monkeypatch.setattr(workflow_run, "REPEAT_SECONDS", 0.4)
    monkeypatch.setattr(workflow_run, "GRACE_SECONDS", 3.0)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as lost:
        assert lost.stdout is not None
        assert lost.stdout.readline() == b"ready\n"
        workflow_run._end_jobs()
        assert lost.wait(1) == 7
