"""gradfaith cost --study S: estimate the time that the jobs of a study will take."""

import argparse
from dataclasses import asdict
from pathlib import Path

from gradfaith.cli.command import Command, add_json_argument, format_json, read_any_plan

COMMAND = Command(summary="list the jobs that Snakemake would run, and estimate their time from finished jobs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--study", required=True, help="a study's name, or its YAML file")
    parser.add_argument("--images", type=_parse_image_count, help="number of images, if the dataset is not split yet")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the jobs of a study and the time that they will take."""
    from gradfaith.cli.cost import forecast

    path, plan = read_any_plan(arguments.study)
    rules, notes = forecast.forecast_study(plan, path, Path.cwd(), arguments.images)
    if arguments.json:
        print(format_json({"rules": [asdict(rule) for rule in rules], "notes": notes}))
    else:
        print(forecast.format_forecast(rules, notes), end="")


def _parse_image_count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"the number of images must be a whole number above 0, found {text}")
    return int(text)
