"""gradfaith init: write the dataset and study of a folder of images, or the profile of a SLURM cluster.

gradfaith init --images DIR [--masks DIR | --boxes DIR] [--name NAME]
gradfaith init --profile slurm
"""

import argparse
import sys
from pathlib import Path

from gradfaith.cli.command import Command

COMMAND = Command(summary="write a dataset and a study for a folder of images, or a profile for a SLURM cluster")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", type=Path, metavar="DIR", help="a folder with one folder per class")
    what.add_argument("--profile", choices=("slurm",), help="ask SLURM what it has, and write profiles/slurm for it")
    parser.add_argument(
        "--masks", type=Path, metavar="DIR", help="masks as <class>/<image>.png; default: DIR/masks, if there"
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="DIR",
        help="XML annotations as of PASCAL VOC or ImageNet; they are converted into boxes.csv beside the images",
    )
    parser.add_argument("--name", default="", help="of the dataset and the study; default: the name of the folder")


def run(arguments: argparse.Namespace) -> None:
    """Write the files, and print what was found and what to do next."""
    if arguments.profile:
        from gradfaith.cli.slurm_profile import write_profile

        print(*write_profile(Path.cwd()), "", "Then: gradfaith doctor --profile slurm STUDY", sep="\n")
        return
    from gradfaith.cli.new_study import create_study

    written, findings = create_study(arguments.images, arguments.masks, arguments.name, Path.cwd(), arguments.boxes)
    print(*(f"wrote {path.relative_to(Path.cwd())}" for path in written), "", *findings.lines(), sep="\n", flush=True)
    if findings.problems:
        sys.exit("\n".join(map(str, findings.problems)))
    name = written[1].stem
    print(f"\nRead both files and change what you need. Then: gradfaith check {name}; gradfaith run {name}")
