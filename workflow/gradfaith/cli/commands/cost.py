"""gradfaith cost --study S: estimate the time that the jobs of a study will take."""

import argparse
from pathlib import Path

from gradfaith.cli.command import Command, read_plan

COMMAND = Command(summary="list the jobs that Snakemake would run, and estimate their time from finished jobs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--study", required=True, help="a study's name, or its YAML file")
    parser.add_argument(
        "--images", type=_parse_image_count, help="how many there will be, where the dataset is not split yet"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the jobs of a study and the time that they will take."""
    from gradfaith.cli.cost import forecast

    path, plan = read_plan(arguments.study)
    print(forecast.format_forecast(*forecast.forecast_study(plan, path, Path.cwd(), arguments.images)), end="")


def _parse_image_count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"a number of images is whole and above 0, found {text}")
    return int(text)
