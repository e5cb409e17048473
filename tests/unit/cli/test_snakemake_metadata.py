"""Results without a record are named; Snakemake's own records, made by Snakemake, are found again."""

import subprocess
import sys
from pathlib import Path

import pytest

from gradfaith.cli.doctor import snakemake_metadata

LONG = "results/s/maps/" + "an-architecture-with-a-long-name/" * 6 + "seed-0/cams.h5"
SNAKEFILE = f"""
rule all:
    input: "results/s/scores.parquet", "{LONG}"
rule make:
    output: "{{any}}"
    shell: "touch {{output}}"
"""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two results that Snakemake made; the name of one is too long for one file name of a record."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_what_snakemake_made_has_its_record_and_what_is_beside_it_has_none(made: Path) -> None:
    assert snakemake_metadata.find_unrecorded(made) == []
    for path in (
        "results/s/data/audit.json",
        "results/s/models/a/seed-0/progress/state.safetensors",
        "results/s/logs/x.log",
    ):
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text("")
    assert snakemake_metadata.find_unrecorded(made) == [Path("results/s/data/audit.json")]
    for record in (made / snakemake_metadata.METADATA).rglob("*"):
        if record.is_file():
            record.write_text("{")  # cut as it was written
    lost = snakemake_metadata.find_unrecorded(made)
    assert {path.as_posix() for path in lost} == {"results/s/data/audit.json", "results/s/scores.parquet", LONG}
    assert snakemake_metadata.describe_unrecorded(lost).startswith("of results/s/data/audit.json, ")


def test_results_that_no_snakemake_made_here_are_nobody_s_fault(tmp_path: Path) -> None:
    (tmp_path / "results/s").mkdir(parents=True)
    (tmp_path / "results/s/scores.parquet").write_text("")
    assert snakemake_metadata.find_unrecorded(tmp_path) == []


def test_many_are_counted() -> None:
    assert (
        snakemake_metadata.describe_unrecorded([Path(str(n)) for n in range(7)])
        == "of 0, 1, 2, 3, 4 and 2 more there is no record of how they were made"
    )
