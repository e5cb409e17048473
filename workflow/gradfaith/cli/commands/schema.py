"""gradfaith schema: write the generated files."""

import argparse
from pathlib import Path

from gradfaith.cli.command import Command
from gradfaith.cli.reference import generate

COMMAND = Command(summary="write the generated files: schemas, and the pages on keys, methods, metrics and commands")


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: this command has no arguments."""


def run(_arguments: argparse.Namespace) -> None:
    """Write the generated files."""
    generate.write_all(Path.cwd())
