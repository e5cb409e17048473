"""Provide what all commands share: their declaration, common arguments, and reading the study.

A command is a file in `commands/` with three names: `COMMAND` (its declaration), `add_arguments(parser)` and `run(arguments)`.
The file's stem is the command's name.
"""

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradfaith.config import locate
from gradfaith.dag.plan import Plan
from gradfaith.dag.tabular import TablePlan
from gradfaith.vocabulary import TABLE


@dataclass(frozen=True)
class Command:
    """The declaration of a command."""

    summary: str  # one line of `gradfaith --help`
    anywhere: bool = False  # it works outside the project's folder
    passes_arguments: bool = False  # what follows `--` goes to another program, as `arguments.passed`


def add_study_argument(parser: argparse.ArgumentParser, default: str = "config/config.yaml") -> None:
    """Add the optional argument STUDY."""
    parser.add_argument(
        "study",
        nargs="?",
        default=default,
        help=f"a study's name, or its YAML file; default: {default or 'the one that Snakemake reads'}",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option --json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for a script")


def format_json(value: object) -> str:
    """Return the JSON that a command prints; a number that is not finite is null."""
    return json.dumps(_finite(value), indent=1, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_any_plan(study: str) -> tuple[Path, Plan | TablePlan]:
    """Return the file of a study of images or of tables, and its plan."""
    path = locate.study_file(study, Path.cwd())
    document = locate.read_document(path)
    return path, (TablePlan if TABLE in document else Plan).read(document, Path.cwd(), str(path))


def read_plan(study: str) -> tuple[Path, Plan]:
    """Return the file of a study that is given by its name or its file, and its plan."""
    path = locate.study_file(study, Path.cwd())
    return path, Plan.read(locate.read_document(path), Path.cwd(), str(path))
