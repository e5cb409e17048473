"""gradfaith sample-size --patients N ... --seeds S ...: plan how many patients and seeds a study needs.

Components of variance are declared with `--sd`, or measured in a finished study with `--from`. A finished study also has the
numbers that gates compare with their margins.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING

from gradfaith.cli.command import Command, add_json_argument, format_json, read_plan
from gradfaith.errors import ArgumentInvalid, NotInStudy

if TYPE_CHECKING:
    from gradfaith.stats.sample_size import Components, Design, PlannedNumber

COMMAND = Command(
    summary="plan the patients and seeds of a study: smallest detectable differences, chances of the gates"
)
FAMILY = 20  # contrasts in a family, if neither a study nor --family says so


@dataclass(frozen=True)
class Basis:
    """What a plan is made from: components of the contrast, and numbers of the gates."""

    components: "Components"
    numbers: "list[PlannedNumber]"
    family: int
    source: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--patients", type=_count, nargs="+", required=True, help="numbers of test patients to compare")
    parser.add_argument("--seeds", type=_count, nargs="+", required=True, help="numbers of seeds to compare")
    parser.add_argument("--from", dest="study", metavar="STUDY", help="a finished study: its name, or its YAML file")
    parser.add_argument(
        "--sd", type=float, nargs=3, metavar=("PATIENTS", "SEEDS", "REST"),
        help="instead of --from: standard deviations of the difference between patients, between seeds, and of what is left",
    )  # fmt: skip
    parser.add_argument(
        "--difference", type=float, default=nan, help="a difference that the recommended design must detect"
    )
    parser.add_argument(
        "--family", type=_count, help=f"contrasts that are adjusted together; default: those of the study, or {FAMILY}"
    )
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals; default: 0.95")
    add_json_argument(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"a whole number above 0, found {text}")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Print what every design detects and decides, and the smallest design that suffices."""
    from gradfaith.stats import sample_size

    _check(arguments)
    basis = _declared(arguments) if arguments.study is None else _measured(arguments)
    alpha = 1 - arguments.level
    designs = [sample_size.Design(patients, seeds) for patients in arguments.patients for seeds in arguments.seeds]
    smallest = {design: sample_size.smallest_difference(basis.components, design, alpha) for design in designs}
    family = {
        design: sample_size.smallest_difference(basis.components, design, alpha / basis.family) for design in designs
    }
    gates = {design: sample_size.gate_chances(basis.numbers, design, alpha) for design in designs}
    best = sample_size.recommend(smallest, gates, arguments.difference)
    if arguments.json:
        rows = [
            {**asdict(one), "smallest_difference": smallest[one], "smallest_difference_in_family": family[one], "gates": gates[one]}
            for one in designs
        ]  # fmt: skip
        numbers = [asdict(number) for number in basis.numbers]
        found = {
            "source": basis.source,
            "components": asdict(basis.components),
            "family": basis.family,
            "numbers": numbers,
        }
        print(format_json({**found, "designs": rows, "recommended": asdict(best) if best else None}))
        return
    print(*_lines(basis, smallest, family, gates), sep="\n")
    print(_recommendation(best, smallest, gates, arguments.difference))


def _check(arguments: argparse.Namespace) -> None:
    problem = ""
    if (arguments.study is None) == (arguments.sd is None):
        problem = "one of --from and --sd is needed, and only one."
    elif arguments.sd is not None and min(arguments.sd) < 0:
        problem = f"--sd has a negative standard deviation: {' '.join(map(str, arguments.sd))}."
    elif min(arguments.patients) < 2:
        problem = "--patients is 1, and one patient has no spread."
    elif not 0.5 < arguments.level < 1:
        problem = f"--level is {arguments.level:g}, and a coverage is between 0.5 and 1."
    if problem:
        raise ArgumentInvalid(
            problem=problem,
            reason="A plan needs standard deviations, from a finished study or from you.",
            fix="For example: gradfaith sample-size --patients 24 48 --seeds 1 3 --sd 0.03 0.01 0.01",
        )


def _declared(arguments: argparse.Namespace) -> Basis:
    from gradfaith.stats.sample_size import Components

    return Basis(Components(*arguments.sd), [], arguments.family or FAMILY, "declared standard deviations")


def _measured(arguments: argparse.Namespace) -> Basis:
    """Measure the primary contrast and the numbers of the gates in a finished study."""
    from gradfaith.cli import planned_numbers

    _, plan = read_plan(arguments.study)
    if not Path(plan.paths.contrasts).is_file():
        raise NotInStudy(
            problem=f"there is no file {plan.paths.contrasts}.",
            reason="Components of variance are measured in the scores of a finished study.",
            fix=f"Run study {plan.study.study} first, or declare standard deviations with --sd.",
        )
    primary, numbers, family = planned_numbers.measure_study(plan)
    asked = plan.study.primary
    what = f"{asked.metric}, {asked.method} minus {asked.against}, study {plan.study.study}"
    return Basis(primary, numbers, arguments.family or family, what)


def _lines(
    basis: Basis, smallest: "dict[Design, float]", family: "dict[Design, float]", gates: "dict[Design, dict[str, float]]"
) -> Iterator[str]:  # fmt: skip
    """Yield the components, a line per design, and a line per number of a gate."""
    parts = ", ".join(f"{name} {_number(value, 4)}" for name, value in asdict(basis.components).items())
    yield f"Standard deviations ({basis.source}): {parts}"
    names = list(dict.fromkeys(number.gate for number in basis.numbers))
    yield f"Smallest difference that is detected with 80 % power: alone, and in a family of {basis.family} contrasts."
    if names:
        yield "Then the chance that each gate is decided."
    yield "One and two seeds: for these models only. Three seeds or more: for new trainings, too."
    rows = [["patients", "seeds", "alone", "family", *names]]
    for design, least in smallest.items():
        chances = [_percent(gates[design][name]) for name in names]
        rows.append([str(design.patients), str(design.seeds), _number(least), _number(family[design]), *chances])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield from ("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    for number in basis.numbers:
        yield f"{number.gate}, {number.part}: value {number.value:.3f}, margin {number.margin:g}"


def _recommendation(
    best: "Design | None", smallest: "dict[Design, float]", gates: "dict[Design, dict[str, float]]", difference: float
) -> str:  # fmt: skip
    """Return the recommended design, or what none of them reaches."""
    if best:
        design = f"{best.patients} patients and {best.seeds} {'seed' if best.seeds == 1 else 'seeds'}"
        holds = "" if best.seeds > 2 else " It shows nothing about new trainings: that needs three seeds."
        return f"Recommended: {design}, the smallest of these designs that suffices.{holds}"
    if isnan(difference) and not any(gates.values()):
        return (
            "Recommended: none, because nothing is asked for. Give --difference, or --from with a study that has gates."
        )
    largest = max(smallest, key=lambda one: (one.patients, one.seeds))
    short = [gate for gate, chance in gates[largest].items() if not chance >= 0.8]
    if not isnan(difference) and not smallest[largest] <= difference:
        short.append(f"the difference {difference:g}")
    lacking = (
        f"; with {largest.patients} patients and {largest.seeds} seeds it still lacks {', '.join(short)}"
        if short
        else ""
    )
    return f"Recommended: none of these designs suffices{lacking}."


def _number(value: float, digits: int = 3) -> str:
    return "unknown" if isnan(value) else f"{value:.{digits}f}"


def _percent(chance: float) -> str:
    return "unknown" if isnan(chance) else f"{100 * chance:.0f} %"
