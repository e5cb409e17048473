"""Find the file of a study, read it, and add the keys that it inherits from another study.

    base: S       data, split, recipe and models are those of S: the same files, computed if they do not exist yet
    external: S   the finished models of S are applied to other images; nothing of S is computed, copied or changed

A study's name is its key `study:`. GradFaith looks for the name in config/studies/<name>.yaml, in config/config.yaml, then in
every other file of config/studies/. An unreadable file there is skipped, and is listed in the error if nothing was found.

    claims: [name, ...]              claims of config/claims.yaml
    claims: path/to/claims.yaml      all claims of a file inside the project
    claims: {name: , own: {...}}     claims of config/claims.yaml, and the user's own
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gradfaith.config.study import TAKEN_FROM_BASE, TAKEN_FROM_EXTERNAL, Study
from gradfaith.errors import BrokenDocument, StudyInvalid, name_some
from gradfaith.registry import did_you_mean
from gradfaith.storage import json_file
from gradfaith.storage.paths import StudyPaths, named_study_file, study_files
from gradfaith.vocabulary import TABLE

MERGE_TAG = "tag:yaml.org,2002:merge"  # of the key `<<`
SHIPPED_CLAIMS = "config/claims.yaml"
ALL_TEST = {"train": 0, "val": 0, "test": 1}
MAX_NAMED_FILES = 3  # missing files that an error names
REASONS = {
    "base": f"{', '.join(TAKEN_FROM_BASE)} are those of the base study: the same files, never computed twice.",
    "external": f"{', '.join(TAKEN_FROM_EXTERNAL)} are those of the external study; there is no split, because every image is a test image.",
}


def add_inherited_keys(own: Mapping[str, Any], root: Path, where: str) -> dict[str, Any]:
    """Return the document with the keys of its base or external study; a key that both give is an error."""
    base, external = own.get("base"), own.get("external")
    if base and external:
        raise _inheritance_error(
            where,
            f"base: {base} and external: {external} are both given",
            "A base provides the images too, while an external validation uses other images.",
            "Remove one of the two keys.",
        )
    if base:
        return _taken(own, "base", str(base), TAKEN_FROM_BASE, root, where) | dict(own)
    if external:
        taken = _taken(own, "external", str(external), (*TAKEN_FROM_EXTERNAL, "split"), root, where)
        return taken | dict(own) | {"split": ALL_TEST}
    return dict(own)


def refuse_tables(document: Mapping[str, Any], where: str) -> None:
    """Raise an error for a study of tables, where only one of images makes sense."""
    if TABLE in document:
        raise StudyInvalid(
            problem=f"{where} explains a table, and this command is for studies of images.",
            reason="Studies of tables have rows and features instead of images and maps; docs/tabular.md describes them.",
            fix=f"Use `snakemake --configfile {where}`, or name a study of images.",
        )


def add_claims(document: Mapping[str, Any], root: Path, where: str) -> dict[str, Any]:
    """Return the document with its claims written out, each under its name."""
    given = document.get("claims")
    if isinstance(given, str):
        return {**document, "claims": _claims_of_file(given, root, where)}
    named = dict.fromkeys(map(str, given)) if isinstance(given, list) else given
    if not isinstance(named, Mapping) or None not in named.values():
        return dict(document)
    shipped = read_document(root / SHIPPED_CLAIMS, "a file of claims")
    for name in (name for name, claim in named.items() if claim is None and name not in shipped):
        raise StudyInvalid(
            problem=f"{where}: claims.{name}: {SHIPPED_CLAIMS} has no such claim{did_you_mean(name, shipped)}",
            reason="A name without keys is a claim of that file.",
            fix=f"Use one of {', '.join(shipped)}, or write the claim itself under this name; docs/claims.md shows how.",
        )
    return {**document, "claims": {name: shipped[name] if claim is None else claim for name, claim in named.items()}}


def _claims_of_file(name: str, root: Path, where: str) -> dict[str, Any]:
    """Return the claims of a file; it must be inside the project."""
    path = (root / name.replace("\0", "")).resolve()  # the file system refuses a zero byte in a name
    if not path.is_relative_to(root.resolve()):
        raise StudyInvalid(
            problem=f"{where}: claims: the file {name} is outside the project.",
            reason="A study is made from the files of its project only, so that a copy of the project gives the same results.",
            fix=f"Copy the file into config/, and write its path from there, such as `claims: {SHIPPED_CLAIMS}`.",
        )
    return read_document(path, "a file of claims")


def trained_classes(study: Study, paths: StudyPaths, where: str) -> list[str]:
    """Return the class names of an external study's models, from their cards; a missing model is an error."""
    models = [(arch, seed) for arch in study.architectures for seed in study.seeds]
    patterns = [paths.weights, paths.trained_card, paths.trained_predictions]
    files = [pattern.format(arch=arch, seed=seed) for arch, seed in models for pattern in patterns]
    missing = [path for path in (paths.trained_manifest, paths.trained_splits, *files) if not Path(path).is_file()]
    if missing:
        raise _inheritance_error(
            where,
            f"external: of study {study.external} there is no {name_some(missing, most=MAX_NAMED_FILES)}",
            "An external validation uses finished models and trains none.",
            "Run that study first: `snakemake --configfile` with the file of this study.",
        )
    cards = [_card(paths.trained_card.format(arch=arch, seed=seed), where) for arch, seed in models]
    for (arch, seed), card in zip(models, cards, strict=True):
        found = card["image"]
        image = study.image.model_dump(include=set(found))
        if found != image or card["classes"] != cards[0]["classes"]:
            raise _inheritance_error(
                where,
                f"external: {arch} with seed {seed} of study {study.external} was trained with {found} and "
                f"classes {card['classes']}, not with {image} and {cards[0]['classes']}",
                "That study's file was changed after its models were trained.",
                "Run that study again, or undo the change of its file.",
            )
    return list(cards[0]["classes"])


def _card(path: str, where: str) -> dict[str, Any]:
    """Return classes and image settings of a model's card, without torch; models/checkpoint.py reads it in full."""
    try:
        card = json_file.read(path)
        seen = {key: card["spec"][key] for key in ("size", "channels")} | card["image"]
        return {"classes": list(card["classes"]), "image": seen}
    except (BrokenDocument, KeyError, TypeError) as error:
        raise _inheritance_error(
            where,
            f"external: {path} is not a model card of GradFaith ({type(error).__name__}: {error})",
            "The card states the classes and the image settings of the weights.",
            "Run that study again.",
        ) from error


def _taken(
    own: Mapping[str, Any], key: str, name: str, taken: tuple[str, ...], root: Path, where: str
) -> dict[str, Any]:
    """Return the keys that are taken from the other study."""
    clash, path = [word for word in taken if word in own], find_study(name, root)
    found = {} if path is None else read_document(path)
    problems = {
        f"the study takes {', '.join(clash)} from `{key}: {name}`, but also sets them itself": bool(clash),
        f"there is no study `{name}` in config/": path is None,
        f"`{name}` has a base study itself": bool(found.get("base")),
        f"`{name}` has an external study itself": bool(found.get("external")),
        "it is the name of this study itself": own.get("study") == name,
    }
    for problem, met in problems.items():
        if met:
            raise _inheritance_error(
                where, f"{key}: {problem}", REASONS[key],
                f"Set `{key}` to a study in config/ without `base` and `external`, and remove the keys that it provides.",
            )  # fmt: skip
    return {word: found[word] for word in taken if word in found}


def _inheritance_error(where: str, found: str, why: str, then: str) -> StudyInvalid:
    return StudyInvalid(problem=f"{where}: {found}.", reason=why, fix=then)


def study_file(name_or_path: str, root: Path) -> Path:
    """Return the file of a study that is given by its name or its path."""
    if Path(name_or_path).suffix in {".yaml", ".yml"}:
        return Path(name_or_path)
    path = find_study(name_or_path, root)
    if path is None:
        named, unread = _named(root)
        known = sorted(set(named.values()))
        passed = f" {', '.join(unread)} cannot be read." if unread else ""
        raise StudyInvalid(
            problem=f'there is no study "{name_or_path}" in config/{did_you_mean(name_or_path, known)}{passed}',
            reason=f"A study is named by its key `study:`; there are {', '.join(known) or 'none'}.",
            fix="Use one of these names, or the path of a study's YAML file.",
        )
    return path


def study_name(name_or_path: str) -> str:
    """Return the name of a study that is given by its name or its path."""
    path = Path(name_or_path)
    return str(read_document(path).get("study")) if path.suffix in {".yaml", ".yml"} else name_or_path


def find_study(name: str, root: Path) -> Path | None:
    """Return the file of the study of this name, or None."""
    own = named_study_file(root, name)
    if own.is_file() and read_document(own).get("study") == name:
        return own
    return next((path for path, found in _named(root)[0].items() if found == name), None)


def _named(root: Path) -> tuple[dict[Path, str], list[str]]:
    """Return file -> name of every study, and the files that cannot be read."""
    named, unread = dict[Path, str](), list[str]()
    for path in study_files(root):
        try:
            named |= {path: str(read_document(path).get("study"))} if path.is_file() else {}
        except StudyInvalid:
            unread.append(path.relative_to(root).as_posix())
    return named, unread


def read_document(path: Path, what: str = "a study") -> dict[str, Any]:
    """Read a YAML file; it must be a mapping of keys, and nothing else is checked. `what` is its name in errors."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError as error:
        raise StudyInvalid(
            problem=f"there is no file {path}.",
            reason="A study is one YAML file of keys and values.",
            fix="Give an existing file such as config/config.yaml, or the name of a study.",
        ) from error
    except RecursionError:
        found, problem = None, "it is nested too deeply"
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        found, problem = None, " ".join(str(error).split()).replace('in "<unicode string>", ', "in ")
    else:
        problem = "it is not a mapping of keys"
    if not isinstance(found, dict):
        raise StudyInvalid(
            problem=f"{path} cannot be read as {what}: {problem}.",
            reason=f"{what.capitalize()} is one YAML file of keys and values, in UTF-8.",
            fix="Correct the file at this place, or name another file. YAML indents with blanks, not with tabs.",
        )
    return found


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that raises an error for a duplicate key; YAML itself uses the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping as written: merged keys (`<<`) are added later, and may be overridden."""
        node = super().compose_mapping_node(anchor)
        assert node is not None  # the parser is at the start of a mapping
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({value for tag, value in keys if tag != MERGE_TAG and keys.count((tag, value)) > 1}):
            raise yaml.composer.ComposerError(None, None, f"the key {', '.join(twice)} occurs twice", node.start_mark)
        return node
