"""An error of a job is printed once, without what Snakemake puts around it, and an attempt that cannot help is not made."""

import shutil

import pytest
import server as web
from workspace import Workspace

pytestmark = pytest.mark.xdist_group("workflow")  # the finished study is made once

AROUND = ("Traceback", "RuleException", "CalledProcessError", 'File "', "WorkflowError in", "--unlock")
WEIGHTS = "results/tiny/models/net-a/seed-0/weights.safetensors"


def printed(space: Workspace, *targets: str) -> str:
    """What a run that must fail prints."""
    done = space.snakemake(*targets, check=False)
    assert done.returncode == 1
    return done.stdout + done.stderr


def test_a_wrong_input_is_told_once_and_not_retried(spoilable: Workspace) -> None:
    """A training has two retries, because one that is killed is to go on."""
    (spoilable.folder / "mine.pth").write_bytes(b"no weights")
    spoilable.edit("tiny.yaml", "net-a: {timm:", "net-a: {weights: mine.pth, timm:")
    text = printed(spoilable, WEIGHTS)
    assert text.count("ModelUnusable: mine.pth cannot be read as weights: ") == 1
    assert text.count("Error in rule train:") == 1
    assert "Trying to restart job" not in text
    assert not [words for words in AROUND if words in text]


def test_a_wrong_address_is_asked_once_however_many_retries_there_are(fresh: Workspace) -> None:
    """On a cluster the profile sets retries for every rule."""
    with web.Server(web.answers(404)) as server:
        (fresh.folder / "config/datasets/mine.yaml").write_text(
            f"title: none\nreader: folder\nclasses: [a, b]\nevidence: mask\nlicence: none needed\nsources: [{{url: '{server.url()}'}}]\n"
        )
        text = (fresh.folder / "tiny.yaml").read_text().splitlines(keepends=True)
        start = next(number for number, line in enumerate(text) if line.startswith("dataset:"))
        (fresh.folder / "tiny.yaml").write_text("".join([*text[:start], "dataset: {name: mine}\n", *text[start + 3 :]]))
        said = printed(fresh, "fetch", "--retries", "2")
    assert said.count("SourceInvalid: none of the sources of resources/mine/raw worked.") == 1
    assert "404 (not found)" in said
    assert len(server.seen) == 1
    assert "Trying to restart job" not in said


def test_a_mistake_of_ours_has_its_traceback_once_and_in_the_log(spoilable: Workspace) -> None:
    spoilable.edit("scripts/table.py", "    write_text(job.output.md", "    1 / 0\n    write_text(job.output.md")
    text = printed(spoilable, "--forcerun", "table_ranks", "--until", "table_ranks")
    assert text.count("ZeroDivisionError: division by zero") == text.count("Traceback (most recent call last)") == 1
    assert not [words for words in ("RuleException", "CalledProcessError") if words in text]
    (log,) = (spoilable.folder / "results/tiny/logs").rglob("table_ranks.log")
    assert log.read_text().endswith("ZeroDivisionError: division by zero\n")


def test_what_is_wrong_while_the_rules_are_read_is_told_plainly(fresh: Workspace) -> None:
    """The raw folder is looked at by a rule's input, outside of every job."""
    (fresh.folder / "raw").mkdir()
    (fresh.folder / "config/datasets/mine.yaml").write_text(
        "title: none\nreader: folder\nraw: raw\nclasses: [a, b]\nevidence: none\nlicence: none needed\n"
    )
    text = (fresh.folder / "tiny.yaml").read_text().splitlines(keepends=True)
    start = next(number for number, line in enumerate(text) if line.startswith("dataset:"))
    (fresh.folder / "tiny.yaml").write_text("".join([*text[:start], "dataset: {name: mine}\n", *text[start + 3 :]]))
    said = printed(fresh)
    assert said.count("StudyInvalid: ") == 1
    assert not [words for words in AROUND if words in said]


def test_a_lock_points_to_the_command_that_looks_for_living_jobs(spoilable: Workspace) -> None:
    locks = spoilable.folder / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").write_text("results/tiny/scores.parquet\n")
    text = printed(spoilable)
    assert text.count("StillLocked: an earlier run in ") == 1
    assert "make resume STUDY=tiny.yaml" in text
    assert not [words for words in AROUND if words in text]
    shutil.rmtree(locks)
    assert spoilable.planned() == {}
