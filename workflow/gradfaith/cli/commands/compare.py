"""gradfaith compare A B: print the estimates of two finished studies side by side."""

import argparse
from pathlib import Path

from gradfaith.cli import compare
from gradfaith.cli.command import Command
from gradfaith.config import locate
from gradfaith.errors import CannotWrite
from gradfaith.storage import atomic

COMMAND = Command(summary="print the estimates of two finished studies side by side")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("a", help="a finished study's name, or its YAML file")
    parser.add_argument("b", help="another's")
    parser.add_argument("--metric", default="", help="only this one")
    parser.add_argument(
        "--by", default="", choices=("", "label", "lesion_size"), help="by class or by size; default: overall"
    )
    parser.add_argument("--csv", type=Path, help="write the complete table there")


def run(arguments: argparse.Namespace) -> None:
    """Print, or write as CSV, the estimates of two studies."""
    both = compare.join_estimates(*(compare.read_estimates(study, Path.cwd()) for study in (arguments.a, arguments.b)))
    if arguments.metric:
        both = compare.select_metric(both, arguments.metric)
    if arguments.csv:
        try:
            atomic.write_text(arguments.csv, both.to_csv(index=False))
        except OSError as error:
            raise CannotWrite(
                problem=f"{arguments.csv} could not be written: {error.strerror or error}.",
                reason="The table was asked for as a file.",
                fix="Name a file in a folder that you may write to.",
            ) from error
    print(
        compare.format_comparison(
            both, (locate.study_name(arguments.a), locate.study_name(arguments.b)), by=arguments.by
        ),
        end="",
    )
