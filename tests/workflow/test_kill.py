"""Snakemake killed in mid-run: its jobs end with it, `gradfaith unlock` lets the next run in, the tables come out the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

TABLES = ("scores", "estimates", "contrasts")


def gradfaith(space: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradfaith.cli.main", *arguments]
    environment = {**space.environment, "PYTHONPATH": str(space.folder / "workflow")}
    return subprocess.run(command, cwd=space.folder, env=environment, capture_output=True, text=True)


def start(space: Workspace, *targets: str) -> subprocess.Popen[bytes]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(
        space.command(*targets), cwd=space.folder, env=space.environment, start_new_session=True, **quiet
    )


def jobs_of(space: Workspace) -> list[psutil.Process]:
    """Living scripts of this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == space.folder and any(".snakemake/scripts/" in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(what, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.1)
    return False


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    keys = [
        name
        for name in left
        if name not in {"value", "low", "high", "se", "df", "p", "low_family", "high_family", "p_family"}
    ]
    order = [
        frame.sort_values([key for key in keys if frame[key].notna().any()]).reset_index(drop=True)
        for frame in (left, right)
    ]
    pd.testing.assert_frame_equal(*order, rtol=1e-6, atol=1e-9)


def test_a_killed_run_ends_with_its_jobs_and_resumes_to_the_same_tables(fresh: Workspace, finished: Workspace):
    run = start(fresh)
    begun = fresh.folder / "results/tiny/models/net-a/seed-0/card.json"
    assert wait_for(begun.exists, 300), "training never finished"
    assert wait_for(lambda: jobs_of(fresh), 60), "no job was running"
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert wait_for(lambda: not jobs_of(fresh), 10), "jobs outlived their parent"

    refused = fresh.snakemake(check=False)
    assert refused.returncode != 0, "a lock was left, so a run without `unlock` is refused"
    assert "make resume STUDY=tiny.yaml" in refused.stderr
    assert "--unlock" not in refused.stderr
    unlocked = gradfaith(fresh, "unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    fresh.snakemake()
    for table in TABLES:
        same(*(pd.read_parquet(space.folder / f"results/tiny/{table}.parquet") for space in (fresh, finished)))
    ours, theirs = (
        json.loads((space.folder / "results/tiny/provenance.json").read_text()) for space in (fresh, finished)
    )
    assert ours == theirs
    assert not list((fresh.folder / "results").rglob("*.tmp"))


def test_an_orphan_that_still_lives_is_not_overrun(fresh: Workspace):
    """A stopped job cannot notice that its parent died; nothing may touch its files until it is gone."""
    run = start(fresh)
    try:
        assert wait_for(
            lambda: jobs_of(fresh) and list((fresh.folder / "results").glob("tiny/logs/train/**/*.log")), 300
        )
        orphans = jobs_of(fresh)
        for orphan in orphans:
            orphan.suspend()
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        refused = gradfaith(fresh, "unlock")
        assert refused.returncode != 0
        assert "JobAlive" in refused.stderr
        assert "logs/train" in refused.stderr
    finally:
        for process in jobs_of(fresh):
            process.kill()
    assert wait_for(lambda: not jobs_of(fresh), 10)
    assert gradfaith(fresh, "unlock").returncode == 0
    assert fresh.planned()["train"] == 4
