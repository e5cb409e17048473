"""Find results without a Snakemake record of how they were made.

Records are missing if a run was killed between a job's end and the record that Snakemake writes of it, or if
results were copied without `.snakemake/`. The files are complete, but nothing tells which code and settings
made them: Snakemake takes them as they are, and a later change of a method or a key does not make them stale.
They are listed; the user decides whether to make them again.
"""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

from gradfaith.errors import name_some
from gradfaith.storage.paths import declared_results

METADATA = Path(".snakemake/metadata")
FIX = "If a setting or a method may have changed since they were made, delete them: the next run makes them again."


def find_unrecorded(root: Path) -> list[Path]:
    """Return the files of results/ without a record, relative to `root`; none if there are no records at all."""
    records = root / METADATA
    if not records.is_dir() or not any(records.iterdir()):
        return []
    longest = os.pathconf(records, "PC_NAME_MAX")
    return [path for path in declared_results(root) if not _has_record(records, path.as_posix(), longest)]


def describe_unrecorded(files: Sequence[Path]) -> str:
    """Return the sentence that lists files without a record."""
    return f"of {name_some(files)} there is no record of how they were made"


def _has_record(records: Path, output: str, longest: int) -> bool:
    """Return whether Snakemake has a complete record of an output; long names are split as Snakemake splits them."""
    name = urlsafe_b64encode(output.encode()).decode()
    pieces = [name[start : start + longest - 1] for start in range(0, len(name), longest - 1)]
    path = records.joinpath(*("@" + piece for piece in pieces[:-1]), pieces[-1])
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("rule"))
    except (OSError, ValueError):
        return False
