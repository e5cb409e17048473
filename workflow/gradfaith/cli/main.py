"""Command-line tools for GradFaith studies; `gradfaith COMMAND --help` describes one of them."""

import argparse
import os
import sys

from gradfaith import registry
from gradfaith.errors import GradFaithError


def main() -> None:
    """Run the command line; print a GradFaithError without its traceback."""
    parser = argparse.ArgumentParser(prog="gradfaith", description="Command-line tools for GradFaith studies.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, entry in registry.entries("commands").items():
        summary = entry.declared["summary"]
        command = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        registry.load("commands", name).add_arguments(command)
    words, passed = _split_passed(sys.argv[1:])
    arguments = parser.parse_args(words)
    if registry.entry("commands", arguments.command).declared.get("passes_arguments"):
        arguments.passed = passed
    try:
        registry.load("commands", arguments.command).run(arguments)
        sys.stdout.flush()
    except GradFaithError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # the reader has enough, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _split_passed(words: list[str]) -> tuple[list[str], list[str]]:
    """Split the words at `--`, where the command passes on what follows it."""
    command = registry.entries("commands").get(next((word for word in words if not word.startswith("-")), ""))
    if "--" not in words or command is None or not command.declared.get("passes_arguments"):
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


if __name__ == "__main__":
    main()
