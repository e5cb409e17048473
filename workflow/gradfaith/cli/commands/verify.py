"""gradfaith verify [STUDY]: check that every file of a finished study is there, undamaged and in its place."""

import argparse
import sys
from pathlib import Path

from gradfaith.cli.command import Command, add_study_argument, read_plan

COMMAND = Command(summary="check that every file of a finished study is there, undamaged and in its place")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print every problem; exit with 1 if there is one."""
    from gradfaith.cli import verify

    _, plan = read_plan(arguments.study)
    problems = []
    for problem in verify.verify_study(plan, Path.cwd()):
        print(problem, flush=True)
        problems.append(problem)
    for name in verify.unexpected_files(plan, Path.cwd()):
        print(f"note: {name} is of no rule of this study")
    if problems:
        sys.exit(
            f"{len(problems)} problems; delete what is damaged and run the study again: only what is missing is computed"
        )
    print(f"{len(verify.expected_files(plan))} files: complete, undamaged, made from each other")
