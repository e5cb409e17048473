"""gradfaith run [STUDY] [-- ARGUMENT ...]: run Snakemake on a study, with progress and a summary at the end."""

import argparse
import sys
from pathlib import Path

from gradfaith.cli.command import Command, add_study_argument, read_plan
from gradfaith.errors import UnknownName
from gradfaith.registry import did_you_mean

COMMAND = Command(
    summary="run a study with Snakemake: progress, time left, and a summary at the end", passes_arguments=True
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    parser.add_argument(
        "--cores", type=_parse_cores, help="how many cores the jobs may use together; default: what the profile says"
    )
    parser.add_argument("--profile", help="a profile of profiles/, such as slurm; default: profiles/default")
    parser.epilog = "Arguments after `--` go to Snakemake: gradfaith run mine -- --forcerun train"


def run(arguments: argparse.Namespace) -> None:
    """Run the study, and exit with Snakemake's exit code."""
    from gradfaith.cli import study_run

    path, plan = read_plan(arguments.study)
    if arguments.profile:
        _check_profile(arguments.profile, Path.cwd())
    words = ["--cores", arguments.cores] if arguments.cores else []
    words += ["--workflow-profile", arguments.profile] if arguments.profile else []
    request = study_run.RunRequest(plan, path, Path.cwd(), [*words, *arguments.passed])
    sys.exit(study_run.run_study(request))


def _parse_cores(text: str) -> str:
    if text != "all" and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"cores must be a whole number above 0, or all; found {text}")
    return text


def _check_profile(name: str, root: Path) -> None:
    """Raise UnknownName if a profile is neither one of profiles/ nor a folder with a profile."""
    known = sorted(path.parent.name for path in root.glob("profiles/*/config.yaml"))
    if name not in known and not (root / name / "config.yaml").is_file():
        raise UnknownName(
            problem=f'there is no profile "{name}"{did_you_mean(name, known)}',
            reason="A profile is a folder of profiles/ with a config.yaml.",
            fix=f"Use one of: {', '.join(known)}.",
        )
