"""A job that does nothing for a while, started as a process."""

import subprocess
import time
from pathlib import Path

SLEEPER = """
import sys, time
from gradfaith.runtime.job import begin, running
begin()
with running(sys.argv[1]):
    print("working", flush=True)
    time.sleep(60)
"""


def start_job(log: Path, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, start_new_session=True)
    wait_until(lambda: log.is_file() and "working" in log.read_text(), 20, "the job did not start")
    return process


def wait_until(condition, seconds: float, message: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.02)
