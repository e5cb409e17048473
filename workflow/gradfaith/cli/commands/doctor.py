"""gradfaith doctor [STUDY]: check what a run will need, and suggest fixes."""

import argparse
import sys
from pathlib import Path

from gradfaith.cli.command import Command, add_study_argument

COMMAND = Command(summary="check what a run of a study will need, and suggest fixes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print every finding; exit with 1 if something is broken."""
    from gradfaith.cli.doctor import checks

    states = []
    for finding in checks.run_checks(arguments.study, Path.cwd()):
        print(finding, flush=True)
        states.append(finding.state)
    if "broken" in states:
        sys.exit(f"{states.count('broken')} broken")
