"""A study by its name or its file: where its document lies, and the document.

A study's name is what its key `study:` says. It is looked for in config/studies/<name>.yaml, in config/config.yaml, then in
every other file of config/studies/; of these, one that cannot be read is passed over, and named where nothing was found.
"""

from pathlib import Path
from typing import Any

import yaml

from gradfaith.errors import StudyInvalid
from gradfaith.registry import did_you_mean

EMBEDDED, FOLDER = Path("config/config.yaml"), Path("config/studies")


def asked(said: str, root: Path) -> Path:
    """The file that a person means by a name or a path."""
    if Path(said).suffix in {".yaml", ".yml"}:
        return Path(said)
    path = find(said, root)
    if path is None:
        named, unread = _named(root)
        known = sorted(set(named.values()))
        passed = f" {', '.join(unread)} cannot be read." if unread else ""
        raise StudyInvalid(
            found=f'there is no study "{said}" in config/{did_you_mean(said, known)}{passed}',
            why=f"A study is named by its key `study:`; there are {', '.join(known) or 'none'}.",
            then="Name one of these, or give the path of its YAML file.",
        )
    return path


def name(said: str) -> str:
    """The name of the study that a person means by a name or a path."""
    path = Path(said)
    return str(read(path).get("study")) if path.suffix in {".yaml", ".yml"} else said


def find(name: str, root: Path) -> Path | None:
    """The file of the study of this name."""
    own = root / FOLDER / f"{name}.yaml"
    if own.is_file() and read(own).get("study") == name:
        return own
    return next((path for path, found in _named(root)[0].items() if found == name), None)


def _named(root: Path) -> tuple[dict[Path, str], list[str]]:
    """The name of every study, and the files that cannot be read."""
    named, unread = dict[Path, str](), list[str]()
    for path in (root / EMBEDDED, *sorted((root / FOLDER).glob("*.yaml"))):
        try:
            named |= {path: str(read(path).get("study"))} if path.is_file() else {}
        except StudyInvalid:
            unread.append(path.relative_to(root).as_posix())
    return named, unread


def read(path: Path) -> dict[str, Any]:
    """A study's document, unchecked beyond being one."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StudyInvalid(
            found=f"there is no file {path}.",
            why="A study is one YAML file of keys and values.",
            then="Name a file such as config/config.yaml, or a study by its name.",
        ) from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        found, said = None, " ".join(str(error).split())
    else:
        said = "it is not a mapping of keys"
    if not isinstance(found, dict):
        raise StudyInvalid(
            found=f"{path} cannot be read as a study: {said}.",
            why="A study is one YAML file of keys and values, in UTF-8.",
            then="Mend the file where that says so, or name another.",
        )
    return found
