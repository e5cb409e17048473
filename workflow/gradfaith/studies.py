"""A study by its name or its file: where its document lies, and the document.

A name is found as config/studies/<name>.yaml, or as config/config.yaml where that says the name.
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
        files = [*(root / FOLDER).glob("*.yaml"), *(root / EMBEDDED).parent.glob(EMBEDDED.name)]
        known = sorted(str(read(one).get("study")) for one in files)
        raise StudyInvalid(
            found=f'there is no study "{said}" in config/{did_you_mean(said, known)}',
            why=f"A study is named by its file or by its key `study:`; there are {', '.join(known) or 'none'}.",
            then="Name one of these, or give the path of its YAML file.",
        )
    return path


def find(name: str, root: Path) -> Path | None:
    """The file of the study of this name."""
    places = (root / FOLDER / f"{name}.yaml", root / EMBEDDED)
    return next((path for path in places if path.is_file() and read(path).get("study") == name), None)


def read(path: Path) -> dict[str, Any]:
    """A study's document, unchecked beyond being one."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        found, said = None, " ".join(str(error).split())
    else:
        said = "it is not a mapping of keys"
    if not isinstance(found, dict):
        raise StudyInvalid(
            found=f"{path} cannot be read as a study: {said}.",
            why="A study is one YAML file of keys and values.",
            then="Name a file such as config/config.yaml, or mend its indentation.",
        )
    return found
