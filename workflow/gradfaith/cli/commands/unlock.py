"""gradfaith unlock [STUDY]: release Snakemake's lock after a crash, unless a process of that run is still alive."""

import argparse
import subprocess
import sys
from pathlib import Path

import psutil

from gradfaith.cli import snakemake_process
from gradfaith.cli.command import Command, add_study_argument
from gradfaith.config import locate
from gradfaith.errors import JobAlive, StillLocked
from gradfaith.runtime import job

COMMAND = Command(summary="release the lock of a run that crashed, unless one of its processes is still alive")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser, default="")


def run(arguments: argparse.Namespace) -> None:
    """Release the lock, and name outputs that the crash left unrecorded."""
    here = Path.cwd()
    found = [at_work for process in psutil.process_iter() if (at_work := _describe_live_process(process, here))]
    found += [f"the job that writes {log.relative_to(here)}" for log in job.logs_of_living_jobs(here)]
    if found:
        raise JobAlive(
            problem=f"an earlier run is still alive: {', '.join(found)}.",
            reason="If its lock were removed now, a second run could write the same files at the same time.",
            fix="Wait until these processes end, or end them (`kill <pid>`). Then call `make resume` again.",
        )
    study = ["--configfile", str(locate.study_file(arguments.study, here))] if arguments.study else []
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--unlock", *study], capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise StillLocked(
            problem=f"Snakemake did not unlock {here}: {output[-1].strip() if output else 'it printed no message'}",
            reason="Snakemake reads the Snakefile and the study (by default config/config.yaml) before it unlocks.",
            fix="Correct the error, or name the study of the killed run: `gradfaith unlock STUDY`, `make resume STUDY=...`.",
        )
    study_file = locate.study_file(arguments.study, here) if arguments.study else None
    if lost := snakemake_process.find_unrecorded(here, study_file):
        print(f"note: {snakemake_process.describe_unrecorded(lost)}. {snakemake_process.FIX_UNRECORDED}")


def _describe_live_process(process: psutil.Process, here: Path) -> str:
    """Return what a process of a run does in folder `here`; "" if it is none, or has ended since it was listed."""
    try:
        words = process.cmdline()
        script = next((word for word in words if ".snakemake/scripts/" in word), "")
        if not (script or any(Path(word).name == "snakemake" for word in words[:4])) or Path(process.cwd()) != here:
            return ""
    except psutil.Error:
        return ""
    kind = f"the job {script.rpartition('.')[0].rpartition('.')[2]}" if script else "snakemake"
    return f"{kind} (pid {process.pid})"
