"""Command-line tools for GradFaith studies; `gradfaith COMMAND --help` describes one of them."""

import argparse
import os
import sys
from pathlib import Path

from gradfaith import __version__, registry
from gradfaith.errors import GradFaithError, OutsideProject, UnknownName
from gradfaith.runtime import own_code

PROJECT_FILES = ("Snakefile", "config")  # what makes a folder the project's


def main() -> None:
    """Run the command line; print a GradFaithError without its traceback."""
    words, passed = _split_passed(sys.argv[1:])
    try:
        _check_command(words)
        arguments = build_parser().parse_args(words)
        if arguments.trust_code:
            own_code.allow()
        declared = registry.entry("commands", arguments.command).declared
        if not declared.get("anywhere"):
            check_project(Path.cwd())
        if declared.get("passes_arguments"):
            arguments.passed = passed
        registry.load("commands", arguments.command).run(arguments)
        sys.stdout.flush()
    except GradFaithError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # the reader has enough, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="gradfaith", description="Command-line tools for GradFaith studies.")
    parser.add_argument("--version", action="version", version=f"gradfaith {__version__}")
    parser.add_argument(
        "--trust-code", action="store_true", help="import the code that the study names as `module` of its networks"
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, entry in registry.entries("commands").items():
        summary = entry.declared["summary"]
        command = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        registry.load("commands", name).add_arguments(command)
    return parser


def check_project(folder: Path) -> None:
    """Raise OutsideProject if a folder is not the project's."""
    missing = [name for name in PROJECT_FILES if not (folder / name).exists()]
    if missing:
        above = next((one for one in folder.parents if all((one / name).exists() for name in PROJECT_FILES)), None)
        raise OutsideProject(
            problem=f"{folder} has no {' and no '.join(missing)}.",
            reason="This command reads the studies in config/ and the results in results/ of the folder that it is called in.",
            fix=f"cd {above}" if above else "Change to the folder that you cloned GradFaith into: `cd .../gradfaith`.",
        )


def _check_command(words: list[str]) -> None:
    """Raise UnknownName with the nearest command if the first word is none."""
    known = registry.names("commands")
    if words and not words[0].startswith("-") and words[0] not in known:
        raise UnknownName(
            problem=f'there is no command "{words[0]}"{registry.did_you_mean(words[0], known)}',
            reason=f"The commands are {', '.join(known)}.",
            fix="`gradfaith --help` describes them.",
        )


def _split_passed(words: list[str]) -> tuple[list[str], list[str]]:
    """Split the words at `--`, where the command passes on what follows it."""
    command = registry.entries("commands").get(next((word for word in words if not word.startswith("-")), ""))
    if "--" not in words or command is None or not command.declared.get("passes_arguments"):
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


if __name__ == "__main__":
    main()
