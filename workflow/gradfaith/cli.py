"""gradfaith: what a person asks beside running the study.

gradfaith check [STUDY.yaml]   read a study as `snakemake` would, and say what it amounts to
gradfaith show MAPS.h5         what a map store holds and where it comes from
gradfaith unlock               after a crash: refuse while a process of the earlier run lives, else let the next one in
gradfaith schema               write workflow/schemas/study.schema.json and the keys in config/README.md
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml

from gradfaith import document, job
from gradfaith.errors import JobAlive, Refusal, StudyInvalid
from gradfaith.plan import Plan
from gradfaith.stores import Maps


def main() -> None:
    """The entry point; a refusal is said without a traceback."""
    parser = argparse.ArgumentParser(
        prog="gradfaith", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("study", nargs="?", default="config/config.yaml", type=Path)
    commands.add_parser("show").add_argument("maps", type=Path)
    commands.add_parser("unlock")
    commands.add_parser("schema")
    asked = parser.parse_args()
    try:
        {"check": _check, "show": _show, "unlock": _unlock, "schema": _schema}[asked.command](asked)
    except Refusal as refusal:
        sys.exit(str(refusal))


def _check(asked: argparse.Namespace) -> None:
    plan = Plan.read(_document(asked.study), Path.cwd(), str(asked.study))
    models, study = len(plan.architectures) * len(plan.study.seeds), plan.study
    print(f"{study.study}: {plan.dataset.title}, evidence: {plan.dataset.evidence}")
    whose = f" of study {study.external}" if study.external else ""
    print(
        f"{models} models{whose} ({', '.join(plan.architectures)}; seeds {study.seeds}), bundles {', '.join(plan.bundles)}"
    )
    print(
        f"{models * len(plan.bundles)} cells of maps, {models * len(plan.bundles) * len(study.batteries)} of faithfulness"
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        found, said = None, " ".join(str(error).split())
    else:
        said = "it is not a mapping of keys"
    if not isinstance(found, dict):
        raise StudyInvalid(
            found=f"{path} cannot be read as a study: {said}.",
            why="A study is one YAML file of keys and values.",
            then="Name a file such as config/config.yaml, or mend its indentation.",
        )
    return found


def _show(asked: argparse.Namespace) -> None:
    with Maps(asked.maps) as maps:
        for label, info in maps.methods.items():
            lost = sum(int((maps.status(label, copy) != "ok").sum()) for copy in range(info.copies))
            height, width = maps.maps(label, 0, slice(0, 1)).shape[1:]
            print(
                f"{label}: {len(maps.rows)} maps x {info.copies}, {height} x {width}, layer {info.layer or '-'}, {lost} not ok"
            )
        print(json.dumps({key: value for key, value in maps.stamp.items() if key != "settings"}, indent=2))


def _unlock(_asked: argparse.Namespace) -> None:
    here = Path.cwd()
    running = [process for process in psutil.process_iter() if _works_here(process, here)]
    held = job.living(here)
    if running or held:
        found = [f"{_kind(process)} (pid {process.pid})" for process in running] + [
            f"the job that writes {log.relative_to(here)}" for log in held
        ]
        raise JobAlive(
            found=f"of an earlier run there still lives {', '.join(found)}.",
            why="Unlocked now, a second run could write the same files at the same time.",
            then="Wait until it ends, or end it; then run `make resume` again.",
        )
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock"], check=True, stdout=subprocess.DEVNULL)


def _works_here(process: psutil.Process, here: Path) -> bool:
    try:
        words = process.cmdline()
        snakemake = any(Path(word).name == "snakemake" for word in words[:4])
        return (snakemake or any(".snakemake/scripts/" in word for word in words)) and Path(process.cwd()) == here
    except psutil.Error:
        return False


def _kind(process: psutil.Process) -> str:
    script = next((word for word in process.cmdline() if ".snakemake/scripts/" in word), "")
    return f"the job {script.rpartition('.')[0].rpartition('.')[2]}" if script else "snakemake"


def _schema(_asked: argparse.Namespace) -> None:
    document.write(Path.cwd())


if __name__ == "__main__":
    main()
