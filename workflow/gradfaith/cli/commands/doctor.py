"""gradfaith doctor [STUDY]: check what a run will need, and suggest fixes."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from gradfaith.cli.command import Command, add_json_argument, add_study_argument, format_json

COMMAND = Command(summary="check what a run of a study will need, and suggest fixes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    parser.add_argument(
        "--profile", default="", help="a SLURM profile, such as slurm: also check each rule against the partitions"
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print every finding; exit with 1 if something is broken."""
    from gradfaith.cli.doctor import checks

    findings = []
    for finding in checks.run_checks(arguments.study, Path.cwd(), arguments.profile):
        if not arguments.json:
            print(finding, flush=True)
        findings.append(finding)
    if arguments.json:
        print(format_json([asdict(finding) for finding in findings]))
    if broken := sum(finding.state == "broken" for finding in findings):
        sys.exit(1 if arguments.json else f"{broken} broken")
