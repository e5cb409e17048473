"""The command line as a newcomer and a script meet it: help, version, JSON, completion, typing errors, the wrong folder."""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradfaith import __version__, registry
from gradfaith.cli import main

JSON_COMMANDS = {"check", "methods", "cost", "compare", "verify", "doctor", "show", "sample-size", "verdict"}
ANYWHERE = {"methods", "show", "completion"}


def ask(monkeypatch: pytest.MonkeyPatch, where: Path, *words: str) -> None:
    monkeypatch.chdir(where)
    monkeypatch.setattr(sys, "argv", ["gradfaith", *words])
    main.main()


def parsers() -> dict[str, argparse.ArgumentParser]:
    parser = main.build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {"": parser, **commands.choices}


def arguments_of_all() -> Iterator[tuple[str, argparse.Action]]:
    for name, parser in parsers().items():
        yield from ((name, action) for action in parser._actions if not isinstance(action, argparse._SubParsersAction))


def test_every_argument_of_every_command_has_a_help_text() -> None:
    assert not [f"{name} {action.dest}" for name, action in arguments_of_all() if len(action.help or "") < 10]
    assert set(parsers()) == {"", *registry.names("commands")}


def test_the_commands_that_a_script_reads_have_json() -> None:
    assert {name for name, action in arguments_of_all() if action.dest == "json"} == JSON_COMMANDS


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="0"):
        ask(monkeypatch, tmp_path, "--version")
    assert capsys.readouterr().out == f"gradfaith {__version__}\n"


def test_methods_are_printed_as_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    ask(monkeypatch, tmp_path, "methods", "--json")
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(found) == {*registry.names("methods"), *registry.names("controls")}
    assert found["gradcam"]["declared"]["grid"] == "native"
    assert found["lime"]["options"]["samples"] > 0


def test_a_check_is_printed_as_json(monkeypatch: pytest.MonkeyPatch, root: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        ask(monkeypatch, root, "check", "phantom", "--fast", "--json")
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert found["found"]["study"].startswith("phantom: ")


@pytest.mark.parametrize(("word", "near"), [("chekc", "check"), ("Doctor", "doctor"), ("raw_name", "raw-name")])
def test_a_mistyped_command_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, word: str, near: str
) -> None:
    with pytest.raises(SystemExit, match=rf'^UnknownName: there is no command "{word}"; did you mean "{near}"\?'):
        ask(monkeypatch, tmp_path, word)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("GradCAM", "gradcam"),
        ("Grad-CAM", "gradcam"),
        ("grad-cam++", "gradcam_pp"),
        ("GradCAM++", "gradcam_pp"),
        ("Score CAM", "scorecam"),
        ("Integrated-Gradients", "integrated_gradients"),
        ("LayerCam", "layercam"),
        ("SMOOTHGRAD", "smoothgrad"),
        ("gradcma", "gradcam"),
    ],
)
def test_a_method_is_found_whatever_its_case_and_spelling(word: str, near: str) -> None:
    assert registry.did_you_mean(word, registry.names("methods")) == f'; did you mean "{near}"?'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "phantom", "--profile", "slrum"], 'UnknownName: there is no profile "slrum"; did you mean "slurm"?'),
        (["run", "phantm"], 'StudyInvalid: there is no study "phantm" in config/; did you mean "phantom"?'),
    ],
)
def test_a_run_of_what_is_not_there_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, root: Path, words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        ask(monkeypatch, root, *words)
    assert str(end.value).startswith(said)


@pytest.mark.parametrize("cores", ["0", "two", "-1"])
def test_cores_are_a_number_or_all(monkeypatch: pytest.MonkeyPatch, root: Path, capsys: Any, cores: str) -> None:
    with pytest.raises(SystemExit):
        ask(monkeypatch, root, "run", f"--cores={cores}")
    assert f"cores must be a whole number above 0, or all; found {cores}" in capsys.readouterr().err


def test_a_name_like_no_other_has_no_suggestion() -> None:
    assert registry.did_you_mean("zzz", registry.names("methods")) == "."


@pytest.mark.parametrize("command", sorted(set(registry.names("commands")) - ANYWHERE))
def test_outside_the_folder_a_command_says_which_folder_it_looked_at(
    monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path, command: str
) -> None:
    words = {
        "sample-size": ["--sd", "1", "1", "1", "--patients", "24", "--seeds", "1"],
        "compare": ["a", "b"], "cost": ["--study", "s"], "export": ["--to", "mlflow"], "raw-name": ["s", "0"], "init": ["--images", "."],
        "explain": ["--image", "i", "--study", "s", "--arch", "a", "--seed", "0"],
    }  # fmt: skip
    with pytest.raises(SystemExit) as end:
        ask(monkeypatch, tmp_path, command, *words.get(command, []))
    problem, _, fix = str(end.value).splitlines()
    assert problem == f"OutsideProject: {tmp_path} has no Snakefile and no config."
    assert fix.strip().startswith("Change to the folder that you cloned GradFaith into")
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit) as end:
        ask(monkeypatch, root / "workflow/schemas", command, *words.get(command, []))
    assert str(end.value).splitlines()[-1].strip() == f"cd {root}"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["gradfaith", "co"], {"compare", "completion", "cost"}),
        (["gradfaith", "run", "--c"], {"--cores"}),
        (["gradfaith", "check", "paper-"], {"paper-small", "paper-augmented"}),
        (["gradfaith", "compare", "--by", "les"], {"lesion_size"}),
    ],
)
def test_bash_completes_commands_options_and_studies(
    root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, typed: list[str], offered: set[str]
) -> None:
    ask(monkeypatch, root, "completion", "bash")
    words = " ".join(typed)
    script = f'COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _gradfaith; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", capsys.readouterr().out + script], cwd=root, capture_output=True, text=True)
    assert done.stderr == ""
    assert offered <= set(done.stdout.split())
    assert all(word.startswith(typed[-1]) for word in done.stdout.split())


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_takes_the_script_of_bash(root: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDOTDIR", str(tmp_path))  # where zsh keeps what it has found
    ask(monkeypatch, root, "completion", "zsh")
    done = subprocess.run(["zsh", "-f", "-c", capsys.readouterr().out], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
