"""gradfaith run [STUDY] [-- ARGUMENT ...]: run Snakemake on a study, with progress and a summary at the end."""

import argparse
import sys
from pathlib import Path

from gradfaith.cli.command import Command, add_study_argument, read_plan

COMMAND = Command(
    summary="run a study with Snakemake: progress, time left, and a summary at the end", passes_arguments=True
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    parser.add_argument("--cores", help="how many cores the jobs may use together; default: as in the profile")
    parser.add_argument("--profile", help="a profile of profiles/, such as slurm; default: profiles/default")
    parser.epilog = "Arguments after `--` go to Snakemake: gradfaith run mine -- --forcerun train"


def run(arguments: argparse.Namespace) -> None:
    """Run the study, and exit with Snakemake's exit code."""
    from gradfaith.cli import study_run

    path, plan = read_plan(arguments.study)
    words = ["--cores", arguments.cores] if arguments.cores else []
    words += ["--workflow-profile", arguments.profile] if arguments.profile else []
    request = study_run.RunRequest(plan, path, Path.cwd(), [*words, *arguments.passed])
    sys.exit(study_run.run_study(request))
