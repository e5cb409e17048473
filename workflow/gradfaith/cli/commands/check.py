"""gradfaith check [STUDY]: read a study as Snakemake would, and print its models and cells."""

import argparse

from gradfaith.cli.command import Command, add_study_argument, read_plan

COMMAND = Command(summary="read a study as Snakemake would, and print its models and cells")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the models and cells of a study."""
    _, plan = read_plan(arguments.study)
    models, study = len(plan.architectures) * len(plan.study.seeds), plan.study
    print(f"{study.study}: {plan.dataset.title}, evidence: {plan.dataset.evidence}")
    origin = f" of study {study.external}" if study.external else ""
    print(
        f"{models} models{origin} ({', '.join(plan.architectures)}; seeds {study.seeds}), bundles {', '.join(plan.bundles)}"
    )
    cells = len(study.seeds) * sum(len(plan.bundles_of(arch)) for arch in plan.architectures)
    print(f"{cells} cells of maps, {cells * len(study.batteries)} of faithfulness")
