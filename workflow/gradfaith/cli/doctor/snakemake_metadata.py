"""Results of which Snakemake keeps no record: what made them, and with which parameters.

Where a run was killed at the wrong moment (between a job's end and the line that Snakemake writes of it), or results were
copied without `.snakemake/`, the files are whole but nobody knows by what. Snakemake then takes them as they are and a
later change of a method or a key does not make them again. They are named here; whether to make them again is the reader's to say.
"""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

METADATA = Path(".snakemake/metadata")
STAGES = ("data", "models", "predictions", "maps", "scores", "figures", "tables")
UNDECLARED = {"progress", "events"}  # folders beside a model that no rule declares
NAMED = 5
MEND = "If a setting or a method may have changed since they were made, delete them: the next run makes them again."


def unrecorded(root: Path) -> list[Path]:
    """Files of results/ without a record, relative to the root; none where Snakemake has kept no record at all."""
    kept = root / METADATA
    if not kept.is_dir() or not any(kept.iterdir()):
        return []
    longest = os.pathconf(kept, "PC_NAME_MAX")
    return [path for path in _results(root) if not _known(kept, path.as_posix(), longest)]


def said(lost: Sequence[Path]) -> str:
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return f"of {', '.join(map(str, lost[:NAMED]))}{more} there is no record of how they were made"


def _results(root: Path) -> list[Path]:
    found = [*(root / "results").glob("*/*.parquet"), *(root / "results").glob("*/provenance.json")]
    for stage in STAGES:
        found += (root / "results").glob(f"*/{stage}/**/*")
    paths = sorted(path.relative_to(root) for path in found if path.is_file() and not path.name.startswith("."))
    return [path for path in paths if not UNDECLARED & set(path.parts)]


def _known(kept: Path, output: str, longest: int) -> bool:
    """Whether Snakemake has a whole record under the name that it gives an output's."""
    name = urlsafe_b64encode(output.encode()).decode()
    pieces = [name[start : start + longest - 1] for start in range(0, len(name), longest - 1)]
    path = kept.joinpath(*("@" + piece for piece in pieces[:-1]), pieces[-1])
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("rule"))
    except (OSError, ValueError):
        return False
