"""gradfaith raw-name STUDY ID: print the raw file of an id of a private dataset."""

import argparse

from gradfaith.cli.command import Command, read_plan
from gradfaith.storage import paths

COMMAND = Command(summary="print the raw file of an id of a private dataset, on the machine that has the key")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("study", help="a study's name, or its YAML file")
    parser.add_argument("id", help="an image id, or the id of a file in an error")


def run(arguments: argparse.Namespace) -> None:
    """Print the raw file of an id."""
    from gradfaith.dag.rule_params import RuleParams
    from gradfaith.data import private_names, raw_files

    _, plan = read_plan(arguments.study)
    settings = RuleParams(plan).data_settings
    if settings.private:
        private_names.check_key(paths.private_key(settings.name))
    print(raw_files.find_raw_file(raw_files.open_raw(settings, plan.dataset.raw), arguments.id))
