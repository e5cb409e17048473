"""gradfaith verify [STUDY]: check that every file of a finished study is there, undamaged and in its place."""

import argparse
import sys
from pathlib import Path

from gradfaith.cli.command import Command, add_json_argument, add_study_argument, format_json, read_plan

COMMAND = Command(summary="check that every file of a finished study is there, undamaged and in its place")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print every problem; exit with 1 if there is one."""
    from gradfaith.cli import verify

    _, plan = read_plan(arguments.study)
    problems, files = [], len(verify.expected_files(plan))
    for problem in verify.verify_study(plan, Path.cwd()):
        if not arguments.json:
            print(problem, flush=True)
        problems.append(problem)
    unexpected = verify.unexpected_files(plan, Path.cwd())
    if arguments.json:
        print(format_json({"study": plan.study.study, "files": files, "problems": problems, "unexpected": unexpected}))
        sys.exit(bool(problems))
    for name in unexpected:
        print(f"note: no rule of this study makes {name}")
    if problems:
        sys.exit(
            f"{len(problems)} problems. Delete the damaged files and run the study again: it makes only what is missing."
        )
    print(f"{files} files: complete, undamaged, made from each other")
