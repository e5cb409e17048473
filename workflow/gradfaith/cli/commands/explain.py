"""gradfaith explain: explain one image by a trained model of a study."""

import argparse
from pathlib import Path
from typing import get_args

from gradfaith.cli.command import Command
from gradfaith.vocabulary import Device

COMMAND = Command(summary="explain one image by a trained model of a study: overlays, side by side, raw maps")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--image", required=True, help="an image file, or an image id of the study")
    parser.add_argument("--study", required=True, help="a study's name, or its YAML file")
    parser.add_argument("--arch", required=True, help="an architecture of the study")
    parser.add_argument("--seed", required=True, type=int, help="one of its seeds")
    parser.add_argument("--methods", nargs="+", default=[], help="labels of the study, or names; default: its bundles")
    parser.add_argument("--target", default="", help="the class to explain; default: the one the model answers")
    parser.add_argument("--out", type=Path, help="default: explained/<study>-<arch>-<seed>-<image>/")
    parser.add_argument(
        "--device", default="auto", choices=get_args(Device), help="where to compute; auto: on a GPU if there is one"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the overlays and maps of one image, and print where they are."""
    from gradfaith.cli import explain_image
    from gradfaith.cli.explain_request import ExplainRequest

    options = {key: value for key, value in vars(arguments).items() if key != "command"}
    for line in explain_image.run(ExplainRequest(**options), Path.cwd()):
        print(line)
