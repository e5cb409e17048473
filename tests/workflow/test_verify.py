"""`gradfaith verify`: what a person deletes, damages or exchanges in a finished study is found, and Snakemake alone does not find it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from workspace import Workspace

from gradfaith.storage import parquet

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once


def verify(space: Workspace) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradfaith.cli.main", "verify", space.study]
    environment = {**space.environment, "PYTHONPATH": str(space.folder / "workflow")}
    return subprocess.run(command, cwd=space.folder, env=environment, capture_output=True, text=True, check=False)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and leave its times."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def exchange(path: Path) -> None:
    """Put the file of the other seed there."""
    other = path.with_name(path.name.replace("seed-0", "seed-1"))
    state = path.stat()
    shutil.copy2(other, path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def flip_in_stream(path: Path) -> None:
    """Change a byte of a PDF where it has a checksum: inside a compressed stream."""
    content, state = bytearray(path.read_bytes()), path.stat()
    content[content.index(b"stream\n") + 40] ^= 0xFF
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


SPOILED: list[tuple[str, Callable[[Path], None], str]] = [
    ("scores/localization/net-a/seed-0.parquet", Path.unlink, "missing"),
    ("maps/net-a/seed-0/cams.h5", Path.unlink, "missing"),
    ("scores.parquet", flip, "damaged"),
    ("data/images.h5", flip, "damaged"),
    ("models/net-a/seed-0/weights.safetensors", flip, "damaged"),
    ("figures/panels.png", flip, "damaged"),
    ("figures/panels.pdf", flip_in_stream, "damaged"),
    ("predictions/net-b/seed-0.parquet", exchange, "damaged"),
]


def test_a_table_that_was_made_again_differently_is_in_conflict_with_what_was_made_from_it(
    spoilable: Workspace,
) -> None:
    path = "results/tiny/predictions/net-a/seed-0.parquet"
    table = parquet.read(spoilable.folder / path, parquet.PREDICTIONS)
    made_from = parquet.read_identity(spoilable.folder / path)[0].made_from
    parquet.write(spoilable.folder / path, table.assign(seconds=0.0), parquet.PREDICTIONS, made_from)
    found = verify(spoilable)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert (
        f"conflict: results/tiny/scores.parquet was made from another version of {path} than the files before it"
        in lines
    )
    assert [line for line in lines if not line.startswith("conflict: ")] == []


def test_a_finished_study_is_complete_and_each_fault_is_named(spoilable: Workspace) -> None:
    whole = verify(spoilable)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "complete, undamaged, made from each other" in whole.stdout
    for name, spoil, _ in SPOILED:
        spoil(spoilable.results / name)
    (spoilable.results / "scores/localization/net-z").mkdir()
    shutil.copy2(
        spoilable.results / "estimates.parquet", spoilable.results / "scores/localization/net-z/seed-0.parquet"
    )
    assert spoilable.planned() == {}, "Snakemake sees nothing of this"
    found = verify(spoilable)
    assert found.returncode == 1
    lines = [line for line in found.stdout.splitlines() if not line.startswith("note:")]
    for name, _, state in SPOILED:
        assert [line for line in lines if line.startswith(f"{state}: ") and name in line], (name, found.stdout)
    assert "note: no rule of this study makes results/tiny/scores/localization/net-z/seed-0.parquet" in found.stdout
    assert f"{len(lines)} problems" in found.stderr
    assert "Traceback" not in found.stderr
