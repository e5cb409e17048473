"""gradfaith check [STUDY]: check a study before anything runs, and print what was found.

Exit status 1 means that there are problems; all of them are listed.
"""

import argparse
import sys
from pathlib import Path

from gradfaith.cli.command import Command, add_json_argument, add_study_argument, format_json

COMMAND = Command(summary="check a study before it runs: its file, its raw images, its networks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    parser.add_argument("--fast", action="store_true", help="do not build the networks: a second instead of some")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print what a study is and what its raw images are; exit with its problems if there are any."""
    from gradfaith.cli.study_check import check_study

    findings = check_study(arguments.study, Path.cwd(), fast=arguments.fast)
    if arguments.json:
        problems = [
            {"error": type(one).__name__, "problem": one.problem, "reason": one.reason, "fix": one.fix}
            for one in findings.problems
        ]
        print(format_json({"found": dict(findings.rows), "problems": problems}))
        sys.exit(bool(problems))
    print(*findings.lines(), sep="\n", flush=True)
    if findings.problems:
        sys.exit("\n".join(map(str, findings.problems)))
    print("no problem found" + (" (networks were not built)" if arguments.fast else ""))
