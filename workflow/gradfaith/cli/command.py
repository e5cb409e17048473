"""What the commands share: how one is declared, and how it reads the study that it is about.

A command is a file in `commands/` with three names: `COMMAND` (its declaration), `add_arguments(parser)` and `run(arguments)`.
The file's stem is the command's name.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from gradfaith.config import locate
from gradfaith.dag.plan import Plan


@dataclass(frozen=True)
class Command:
    """The declaration of a command."""

    summary: str  # one line of `gradfaith --help`
    passes_arguments: bool = False  # what follows `--` goes to another program, as `arguments.passed`


def add_study_argument(parser: argparse.ArgumentParser, default: str = "config/config.yaml") -> None:
    """Add the optional argument STUDY."""
    parser.add_argument(
        "study",
        nargs="?",
        default=default,
        help=f"a study's name, or its YAML file; default: {default or 'the one that Snakemake reads'}",
    )


def read_plan(study: str) -> tuple[Path, Plan]:
    """Return the file of a study that is given by its name or its file, and its plan."""
    path = locate.study_file(study, Path.cwd())
    return path, Plan.read(locate.read_document(path), Path.cwd(), str(path))
