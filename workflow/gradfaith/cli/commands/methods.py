"""gradfaith methods: list every method and control, and the networks that it is defined for."""

import argparse
from pathlib import Path

from gradfaith.cli.command import Command
from gradfaith.cli.reference import plugin_tables

COMMAND = Command(summary="list every method and control: what it needs, returns and costs, and for which networks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--arch", nargs="+", default=[], help="timm names: for which of these each is defined")
    parser.add_argument("--study", default="", help="the same for the architectures of a study")
    parser.add_argument("--markdown", action="store_true", help="a Markdown table")


def run(arguments: argparse.Namespace) -> None:
    """Print the methods and controls."""
    support: plugin_tables.MethodSupport = {}
    if arguments.arch or arguments.study:
        from gradfaith.cli import method_support

        support = method_support.find_support(arguments.arch, arguments.study, Path.cwd())
    print(
        plugin_tables.methods_markdown(support) if arguments.markdown else plugin_tables.methods_text(support), end=""
    )
