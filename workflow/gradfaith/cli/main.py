"""gradfaith: what a person asks beside running the study.

gradfaith check [STUDY]        read a study as `snakemake` would, and say what it amounts to
gradfaith explain --image X    one image explained by a trained model of a study: overlays, side by side, the maps
gradfaith methods              every method and control: what it needs, gives and costs, and for which networks it is
gradfaith show MAPS.h5         what a map store holds and where it comes from
gradfaith doctor [STUDY]       look at what a run will need, and say the mend of what is broken
gradfaith cost --study S       the jobs that Snakemake would run, and what they will take by the records of finished jobs
gradfaith compare A B          the estimates of two finished studies side by side
gradfaith verify [STUDY]       every file of a finished study: is it there, undamaged, in its place?
gradfaith raw-name STUDY ID    of a private dataset: the file that an id stands for, on the machine that has the key
gradfaith unlock [STUDY]       after a crash: refuse while a process of the earlier run lives, else let the next one in
gradfaith schema               write what is generated: the schema of a study, the keys in config/README.md, docs/methods.md, docs/metrics.md
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import psutil
from numpy.typing import NDArray

from gradfaith.cli import snakemake_process
from gradfaith.cli.reference import generate, plugin_tables
from gradfaith.config import locate
from gradfaith.dag.plan import Plan
from gradfaith.errors import CannotWrite, GradFaithError, JobAlive, StillLocked
from gradfaith.runtime import job
from gradfaith.storage import atomic, paths
from gradfaith.vocabulary import Device


def main() -> None:
    """Run the command line; print a GradFaithError without its traceback."""
    parser = argparse.ArgumentParser(
        prog="gradfaith", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("study", nargs="?", default="config/config.yaml")
    _add_explain_arguments(commands.add_parser("explain"))
    _add_methods_arguments(commands.add_parser("methods"))
    commands.add_parser("show").add_argument("maps", type=Path)
    commands.add_parser("doctor").add_argument("study", nargs="?", default="config/config.yaml")
    _add_cost_arguments(commands.add_parser("cost"))
    _add_compare_arguments(commands.add_parser("compare"))
    commands.add_parser("verify").add_argument("study", nargs="?", default="config/config.yaml")
    _add_raw_name_arguments(commands.add_parser("raw-name"))
    commands.add_parser("unlock").add_argument("study", nargs="?", default="", help="its YAML file or its name")
    commands.add_parser("schema")
    arguments = parser.parse_args()
    try:
        COMMANDS[arguments.command](arguments)
    except GradFaithError as error:
        sys.exit(str(error))


def _read_plan(study: str) -> tuple[Path, Plan]:
    """Return the file of a study that is named, or given as a file, and its plan."""
    path = locate.study_file(study, Path.cwd())
    return path, Plan.read(locate.read_document(path), Path.cwd(), str(path))


def _run_check(arguments: argparse.Namespace) -> None:
    _, plan = _read_plan(arguments.study)
    models, study = len(plan.architectures) * len(plan.study.seeds), plan.study
    print(f"{study.study}: {plan.dataset.title}, evidence: {plan.dataset.evidence}")
    origin = f" of study {study.external}" if study.external else ""
    print(
        f"{models} models{origin} ({', '.join(plan.architectures)}; seeds {study.seeds}), bundles {', '.join(plan.bundles)}"
    )
    cells = len(study.seeds) * sum(len(plan.bundles_of(arch)) for arch in plan.architectures)
    print(f"{cells} cells of maps, {cells * len(study.batteries)} of faithfulness")


def _run_explain(arguments: argparse.Namespace) -> None:
    from gradfaith.cli import explain_image
    from gradfaith.cli.explain_request import ExplainRequest

    options = {key: value for key, value in vars(arguments).items() if key != "command"}
    for line in explain_image.run(ExplainRequest(**options), Path.cwd()):
        print(line)


def _run_methods(arguments: argparse.Namespace) -> None:
    support: plugin_tables.MethodSupport = {}
    if arguments.arch or arguments.study:
        from gradfaith.cli import method_support

        support = method_support.find_support(arguments.arch, arguments.study, Path.cwd())
    print(
        plugin_tables.methods_markdown(support) if arguments.markdown else plugin_tables.methods_text(support), end=""
    )


def _run_show(arguments: argparse.Namespace) -> None:
    from gradfaith.storage.hdf5 import MapStore

    with MapStore(arguments.maps) as maps:
        for label, info in maps.methods.items():
            lost = sum(int((maps.status(label, copy) != "ok").sum()) for copy in range(info.copies))
            height, width = maps.maps(label, 0, slice(0, 1)).shape[1:]
            layer, score = info.layer or "-", info.score or "-"
            size = f"{len(maps.rows)} maps x {info.copies}, {height} x {width}"
            print(f"{label}: {size}, layer {layer}, score {score}, {lost} not ok")
            for name, values in maps.notes(label).items():
                print(f"    {name}: {_format_note(values)}")
        print(json.dumps({key: value for key, value in maps.stamp.items() if key != "settings"}, indent=2))


def _format_note(values: NDArray[np.float32]) -> str:
    """Return a diagnostic's mean and range over the maps."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "no finite value"
    unknown = f", {values.size - known.size} not finite" if known.size < values.size else ""
    low, high = known.min(), known.max()
    return f"{low:.4g}{unknown}" if low == high else f"mean {known.mean():.4g}, from {low:.4g} to {high:.4g}{unknown}"


def _run_doctor(arguments: argparse.Namespace) -> None:
    from gradfaith.cli.doctor import checks

    states = []
    for finding in checks.run_checks(arguments.study, Path.cwd()):
        print(finding, flush=True)
        states.append(finding.state)
    if "broken" in states:
        sys.exit(f"{states.count('broken')} broken")


def _run_cost(arguments: argparse.Namespace) -> None:
    from gradfaith.cli.cost import forecast

    path, plan = _read_plan(arguments.study)
    print(forecast.format_forecast(*forecast.forecast_study(plan, path, Path.cwd(), arguments.images)), end="")


def _run_compare(arguments: argparse.Namespace) -> None:
    from gradfaith.cli import compare

    both = compare.join_estimates(*(compare.read_estimates(study, Path.cwd()) for study in (arguments.a, arguments.b)))
    if arguments.metric:
        both = compare.select_metric(both, arguments.metric)
    if arguments.csv:
        try:
            atomic.write_text(arguments.csv, both.to_csv(index=False))
        except OSError as error:
            raise CannotWrite(
                problem=f"{arguments.csv} could not be written: {error.strerror or error}.",
                reason="The table was asked for as a file.",
                fix="Name a file in a folder that you may write to.",
            ) from error
    print(
        compare.format_comparison(
            both, (locate.study_name(arguments.a), locate.study_name(arguments.b)), by=arguments.by
        ),
        end="",
    )


def _run_verify(arguments: argparse.Namespace) -> None:
    from gradfaith.cli import verify

    _, plan = _read_plan(arguments.study)
    problems = []
    for problem in verify.verify_study(plan, Path.cwd()):
        print(problem, flush=True)
        problems.append(problem)
    for name in verify.unexpected_files(plan, Path.cwd()):
        print(f"note: {name} is of no rule of this study")
    if problems:
        sys.exit(
            f"{len(problems)} problems; delete what is damaged and run the study again: only what is missing is computed"
        )
    print(f"{len(verify.expected_files(plan))} files: complete, undamaged, made from each other")


def _run_raw_name(arguments: argparse.Namespace) -> None:
    from gradfaith.dag.rule_params import RuleParams
    from gradfaith.data import private_names, raw_files

    _, plan = _read_plan(arguments.study)
    settings = RuleParams(plan).data_settings
    if settings.private:
        private_names.check_key(paths.private_key(settings.name))
    print(raw_files.find_raw_file(raw_files.open_raw(settings, plan.dataset.raw), arguments.id))


def _run_unlock(arguments: argparse.Namespace) -> None:
    here = Path.cwd()
    found = [at_work for process in psutil.process_iter() if (at_work := _describe_live_process(process, here))]
    found += [f"the job that writes {log.relative_to(here)}" for log in job.logs_of_living_jobs(here)]
    if found:
        raise JobAlive(
            problem=f"of an earlier run there still lives {', '.join(found)}.",
            reason="Unlocked now, a second run could write the same files at the same time.",
            fix="Wait until it ends, or end it; then run `make resume` again.",
        )
    study = ["--configfile", str(locate.study_file(arguments.study, here))] if arguments.study else []
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--unlock", *study], capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise StillLocked(
            problem=f"Snakemake did not unlock {here}: {output[-1].strip() if output else 'it said nothing'}",
            reason="It reads the Snakefile and the study (config/config.yaml, unless one is named) before it unlocks.",
            fix="Mend that, or name the study that was killed: `gradfaith unlock STUDY`, `make resume STUDY=...`.",
        )
    study_file = locate.study_file(arguments.study, here) if arguments.study else None
    if lost := snakemake_process.find_unrecorded(here, study_file):
        print(f"note: {snakemake_process.describe_unrecorded(lost)}. {snakemake_process.FIX_UNRECORDED}")


def _describe_live_process(process: psutil.Process, here: Path) -> str:
    """Return what a process of a run does in folder `here`; "" if it is none, or has ended since it was listed."""
    try:
        words = process.cmdline()
        script = next((word for word in words if ".snakemake/scripts/" in word), "")
        if not (script or any(Path(word).name == "snakemake" for word in words[:4])) or Path(process.cwd()) != here:
            return ""
    except psutil.Error:
        return ""
    kind = f"the job {script.rpartition('.')[0].rpartition('.')[2]}" if script else "snakemake"
    return f"{kind} (pid {process.pid})"


def _add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", required=True, help="an image file, or an image id of the study")
    parser.add_argument("--study", required=True, help="a study's name, or its YAML file")
    parser.add_argument("--arch", required=True, help="an architecture of the study")
    parser.add_argument("--seed", required=True, type=int, help="one of its seeds")
    parser.add_argument("--methods", nargs="+", default=[], help="labels of the study, or names; default: its bundles")
    parser.add_argument("--target", default="", help="the class to explain; default: the one the model answers")
    parser.add_argument("--out", type=Path, help="default: explained/<study>-<arch>-<seed>-<image>/")
    parser.add_argument("--device", default="auto", choices=get_args(Device))


def _add_methods_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", nargs="+", default=[], help="timm names: for which of these each is defined")
    parser.add_argument("--study", default="", help="the same for the architectures of a study")
    parser.add_argument("--markdown", action="store_true", help="a Markdown table")


def _add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, help="a study's name, or its YAML file")
    parser.add_argument(
        "--images", type=_parse_image_count, help="how many there will be, where the dataset is not split yet"
    )


def _parse_image_count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"a number of images is whole and above 0, found {text}")
    return int(text)


def _add_raw_name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="a study's name, or its YAML file")
    parser.add_argument("id", help="an image id, or the id of a file in an error")


def _add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="a finished study's name, or its YAML file")
    parser.add_argument("b", help="another's")
    parser.add_argument("--metric", default="", help="only this one")
    parser.add_argument(
        "--by", default="", choices=("", "label", "lesion_size"), help="by class or by size; default: overall"
    )
    parser.add_argument("--csv", type=Path, help="write the whole table there")


def _run_schema(_arguments: argparse.Namespace) -> None:
    generate.write_all(Path.cwd())


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "check": _run_check, "explain": _run_explain, "methods": _run_methods, "show": _run_show, "unlock": _run_unlock,
    "doctor": _run_doctor, "cost": _run_cost, "compare": _run_compare, "schema": _run_schema,
    "raw-name": _run_raw_name, "verify": _run_verify,
}  # fmt: skip


if __name__ == "__main__":
    main()
