"""A job that does nothing for a while, started as a process."""

import subprocess
import time
from pathlib import Path

SLEEPER = """
import sys, time
from gradfaith.runtime.job import running
with running(sys.argv[1]):
    print("working", flush=True)
    time.sleep(60)
"""


def started(log: Path, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, start_new_session=True)
    wait(lambda: log.is_file() and "working" in log.read_text(), 20, "the job did not start")
    return process


def wait(until, seconds: float, said: str) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, said
        time.sleep(0.02)
