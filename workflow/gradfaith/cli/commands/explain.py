"""gradfaith explain: explain images by a trained model of a study."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import get_args

from gradfaith.cli.command import Command
from gradfaith.vocabulary import Device

COMMAND = Command(summary="explain images by a trained model of a study: overlays, side by side, raw maps")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    image = "image files, folders of them, or image ids of the study; all are explained with one loaded model"
    parser.add_argument("--image", required=True, nargs="+", dest="images", metavar="IMAGE", help=image)
    parser.add_argument("--study", required=True, help="a study's name, or its YAML file")
    parser.add_argument("--arch", required=True, help="an architecture of the study")
    parser.add_argument("--seed", required=True, type=int, help="one of its seeds")
    parser.add_argument("--methods", nargs="+", default=[], help="labels of the study, or names; default: its bundles")
    parser.add_argument("--target", default="", help="the class to explain; default: the predicted class")
    parser.add_argument(
        "--out", type=Path, help="default: explained/<study>-<arch>-<seed>-<image>/; of several images: <out>/<image>/"
    )
    window = "grey values that become black and white, for images of more than 8 bits; default: the image's own range"
    parser.add_argument("--window", nargs=2, type=float, metavar=("LOW", "HIGH"), help=window)
    parser.add_argument(
        "--device", default="auto", choices=get_args(Device), help="where to compute; auto: on a GPU if there is one"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the overlays and maps of every image, and print where they are."""
    from gradfaith.cli import explain_image
    from gradfaith.cli.explain_request import ExplainRequest

    options = {field.name: getattr(arguments, field.name) for field in fields(ExplainRequest)}
    options["window"] = tuple(arguments.window) if arguments.window else None
    for line in explain_image.run(ExplainRequest(**options), Path.cwd()):
        print(line)
