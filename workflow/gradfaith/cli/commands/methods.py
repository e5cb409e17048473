"""gradfaith methods: list every method and control, and the networks that it is defined for."""

import argparse
from pathlib import Path

from gradfaith.cli.command import Command, add_json_argument, format_json
from gradfaith.cli.main import check_project
from gradfaith.cli.reference import plugin_tables

COMMAND = Command(
    summary="list every method and control: what it needs, returns and costs, and for which networks", anywhere=True
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--arch", nargs="+", default=[], help="timm names: state for which of them each method is defined"
    )
    parser.add_argument(
        "--study", default="", help="the same for the architectures of a study (its name, or its YAML file)"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the methods and controls."""
    support: plugin_tables.MethodSupport = {}
    if arguments.study:
        check_project(Path.cwd())
    if arguments.arch or arguments.study:
        from gradfaith.cli import method_support

        support = method_support.find_support(arguments.arch, arguments.study, Path.cwd())
    if arguments.json:
        print(format_json(plugin_tables.methods_data(support)))
    elif arguments.markdown:
        print(plugin_tables.methods_markdown(support), end="")
    else:
        print(plugin_tables.methods_text(support), end="")
