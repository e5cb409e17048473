"""Count the work of a job of a study of tables, as dag/job_work.py does for images.

    table_index     rows of the table            table_train    rows of the table
    table_explain   explained rows x rows of the background x methods x repeats
    table_scores    explained rows x seeds x methods x metrics x imputers

Models and methods cost different times per unit, so the kind of a job is its model. If the table is not there yet, its rows are
counted from the options of its source, from the file, or from the number that the source declares.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gradfaith import registry
from gradfaith.dag.job_work import UNCOUNTED, UNKNOWN
from gradfaith.dag.tabular import TablePlan
from gradfaith.runtime.job_record import JobRecorder, JobWork, RunningJob
from gradfaith.storage import parquet
from gradfaith.storage.paths import PROJECT


@dataclass(frozen=True)
class TableWork:
    """Counts the work of every job of one study of tables."""

    plan: TablePlan
    rows: float

    def of(self, rule: str, wildcards: Mapping[str, str]) -> JobWork:
        """Return the work of one job, given its rule and wildcards."""
        study, arch = self.plan.study, wildcards.get("arch", "")
        how, seeds, methods = study.explain, len(study.seeds), len(study.methods)
        explained = min(how.rows, study.split.test * self.rows)
        counted: dict[str, Callable[[], float]] = {
            "table_index": lambda: self.rows,
            "table_train": lambda: self.rows,
            "table_explain": lambda: explained * how.background * methods * how.repeats,
            "table_scores": lambda: explained * seeds * methods * len(study.metrics) * len(study.imputers),
        }
        if rule not in counted:
            return replace(UNCOUNTED, kind=rule)
        units = counted[rule]()
        return JobWork(units, units, kind=f"{rule} {arch}".strip())


def recorder(job: RunningJob) -> JobRecorder:
    """Start measuring a job of a rule that only studies of tables have, as `job_work.recorder` does."""
    return JobRecorder(job, work_of_finished)


def work_of_finished(job: RunningJob) -> JobWork:
    """Return the work of a finished job."""
    plan = TablePlan.read(job.config, PROJECT)
    rows = count_rows(plan)
    return UNKNOWN if rows is None else TableWork(plan, rows).of(job.rule, dict(job.wildcards.items()))


def count_rows(plan: TablePlan) -> int | None:
    """Return the number of rows of a study's table; None if it is not known before the table is read."""
    if Path(plan.paths.splits).is_file():
        return len(parquet.read(plan.paths.splits, parquet.SPLITS))
    table = plan.study.table
    file = Path(str(table.options.get("file") or ""))
    if file.is_file():
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip()) - 1
    if {"people", "waves"} <= table.options.keys():
        return int(table.options["people"]) * int(table.options["waves"])
    return table.options.get("rows") or registry.entry("table_sources", table.source).declared.get("rows")
