"""Measure what each script of a study computes before its work: Python, Snakemake's lines, our modules, other packages.

    python benchmarks/startup.py [--study .] [--before FOLDER] [--rounds 5] [--scripts explain figure]

Every script runs up to `job = snakemake` in a process of its own, in a working copy of the files as they are. The seconds are
of computing (user and system, from the system's account of the process), not of the clock, so that other programs disturb
them less; medians of the rounds. The parts come from `python -X importtime`: our modules, and other packages, each without
what it imports itself, scaled to the measured sum. A network's own file of timm is imported when it is built; its seconds
are listed apart. With `--study`, sums over the jobs that ran in a folder, from the record beside each log. `--before` is another
working copy, measured in the same rounds.
"""

import argparse
import ast
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from gradfaith.dag.job_work import rule_family
from gradfaith.runtime.job_record import read_records

ROOT = Path(__file__).parents[1]
SNAKEMAKE = "import pickle\nfrom snakemake.logging import logger\nfrom snakemake.iocontainers import Snakemake\n"
NETWORK = "\nfrom gradfaith.models.timm_import import timm\ntimm.create_model('resnet10t')\n"
WORK = "\nwith gradfaith.runtime.job.running({log!r}):\n    pass\n"
IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def computing_seconds(code: str, tree: Path) -> float:
    """Return the seconds that a fresh Python computes to run this code with the package of a working copy."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "workflow"), "OMP_NUM_THREADS": "1"}
    process = os.posix_spawn(sys.executable, [sys.executable, "-c", code], environment)
    _, status, used = os.wait4(process, 0)
    if status:
        sys.exit(f"this fails in {tree}:\n{code}")
    return used.ru_utime + used.ru_stime


def imports_of(script: Path) -> str:
    """Return a script up to its work."""
    lines = [ast.unparse(node) for node in ast.parse(script.read_text(encoding="utf-8")).body]
    return "\n".join(lines[: lines.index("job = snakemake")])


def profile_imports(code: str, tree: Path) -> tuple[float, bool]:
    """Return the part of the import time that our own modules take, and whether torch is imported."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "workflow"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-X", "importtime", "-c", code]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr
    seconds: Counter[str] = Counter()
    for microseconds, module in IMPORT.findall(lines):
        seconds[module.split(".")[0]] += int(microseconds)
    return seconds["gradfaith"] / max(1, seconds.total()), "torch" in seconds


class Measured:
    """The seconds of one script in one working copy."""

    def __init__(self, script: str, tree: Path, log: str) -> None:
        self.tree, code = tree, SNAKEMAKE + imports_of(tree / "scripts" / f"{script}.py")
        self.code = code + WORK.format(log=log)
        self.ours, network = profile_imports(code, tree)
        self.with_network = code + NETWORK + WORK.format(log=log) if network else ""
        self.rounds: list[tuple[float, float]] = []

    def measure(self) -> None:
        """Measure one round: without and with a network."""
        first = computing_seconds(self.code, self.tree)
        self.rounds.append((first, computing_seconds(self.with_network, self.tree) if self.with_network else first))

    @property
    def sums(self) -> tuple[float, float]:
        """Return the medians: the imports of the script, and these with a network."""
        without, network = zip(*self.rounds, strict=True)
        return statistics.median(without), statistics.median(network)


def report(scripts: list[str], trees: list[Path], rounds: int, jobs: Counter[str]) -> None:
    """Measure and print a line per script, and the sums over a study's jobs."""
    with tempfile.TemporaryDirectory() as folder:
        plain = [
            statistics.median(computing_seconds(code, trees[-1]) for _ in range(rounds)) for code in ("", SNAKEMAKE)
        ]
        print(f"each job: Python {plain[0]:.2f} s, Snakemake's lines {plain[1] - plain[0]:.2f} s")
        print(
            f"{'script':16}{'jobs':>5}"
            + "".join(f"{tree.name:>12} {'ours':>6} {'others':>6} {'+ net':>6}" for tree in trees)
        )
        totals = [0.0] * len(trees)
        for script in scripts:
            found = [Measured(script, tree, f"{folder}/{script}.log") for tree in trees]
            for _ in range(rounds):
                for one in found:
                    one.measure()
            line = f"{script:16}{jobs[script]:5}"
            for number, one in enumerate(found):
                without, network = one.sums
                imports = without - plain[1]
                totals[number] += jobs[script] * network
                line += f"{network:12.2f} {imports * one.ours:6.2f} {imports * (1 - one.ours):6.2f} {network - without:6.2f}"
            print(line, flush=True)
        print(f"{'the study':16}{jobs.total():5}" + "".join(f"{total:12.1f} {'':20}" for total in totals))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--study", type=Path, help="the folder of a run, with its results/")
    parser.add_argument("--before", type=Path, help="another working copy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scripts", nargs="+", help="stems of scripts; default: those of the study, or all")
    given = parser.parse_args()
    records = read_records(given.study)[0] if given.study else []
    jobs = Counter(rule_family(record.rule) for record in records)
    scripts = given.scripts or sorted(jobs) or sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
    trees = [given.before.resolve(), ROOT] if given.before else [ROOT]
    report(scripts, trees, given.rounds, jobs)


if __name__ == "__main__":
    main()
