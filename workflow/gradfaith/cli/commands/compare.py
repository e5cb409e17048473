"""gradfaith compare A B: print the estimates of two finished studies side by side."""

import argparse
from pathlib import Path

from gradfaith.cli import compare
from gradfaith.cli.command import Command, add_json_argument, format_json
from gradfaith.config import locate
from gradfaith.errors import CannotWrite
from gradfaith.storage import atomic

COMMAND = Command(summary="print the estimates of two finished studies side by side")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("a", help="a finished study's name, or its YAML file")
    parser.add_argument("b", help="the other study's name, or its YAML file")
    parser.add_argument("--metric", default="", help="print this metric only; default: all")
    parser.add_argument(
        "--by",
        default="",
        choices=("", "label", "lesion_size"),
        help="print estimates by class or by lesion size; default: over all images",
    )
    parser.add_argument("--csv", type=Path, help="write the table of all estimates into this file")
    add_json_argument(parser)


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
                reason="`--csv` writes the table into a file.",
                fix="Name a file in a folder that you may write to.",
            ) from error
    if arguments.json:
        print(format_json(both[both["by"] == arguments.by].to_dict("records")))
        return
    print(
        compare.format_comparison(
            both, (locate.study_name(arguments.a), locate.study_name(arguments.b)), by=arguments.by
        ),
        end="",
    )
