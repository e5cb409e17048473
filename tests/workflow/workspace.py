"""A folder with the workflow in it, and Snakemake to run there."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

from gradfaith.dag.job_work import rule_family

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "rules", "scripts", "envs", "config", "workflow", "profiles", "pyproject.toml")
TINY = "tiny.yaml"


class Workspace:
    """One such folder."""

    def __init__(self, folder: Path, study: str = TINY) -> None:
        self.folder, self.study = folder, study

    @property
    def results(self) -> Path:
        return self.folder / "results" / yaml.safe_load((self.folder / self.study).read_text())["study"]

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *arguments, "--configfile", self.study]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": "",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a run would do, from the dry run's table."""
        text = self.snakemake("-n", *arguments).stdout
        if "Nothing to be done" in text:
            return {}
        table = text.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
        counts: Counter[str] = Counter()
        for row in table:
            rule, count = row.split()[:2]
            counts[rule_family(rule)] += int(count)
        return {rule: count for rule, count in counts.items() if rule not in {"all", "total"}}

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new, 1))


def plant(folder: Path) -> Workspace:
    """The workflow's files, without anything it made."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / part)
    tables = folder / "resources/iqothnccd"
    tables.mkdir(parents=True)
    for table in (ROOT / "resources/iqothnccd").glob("*.tsv"):
        shutil.copy2(table, tables)
    shutil.copy2(Path(__file__).with_name(TINY), folder / TINY)
    return Workspace(folder)
