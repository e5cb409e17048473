"""A study that stands on another: what it takes from there, and that what it takes is there.

base: S       data, split, recipe and models are those of S, the same files, made if they are not there yet
external: S   the models of S, finished, are asked about other images; nothing of S is made, copied or changed
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gradfaith.errors import StudyInvalid
from gradfaith.layout import Layout
from gradfaith.study import TAKEN_FROM_BASE, TAKEN_FROM_EXTERNAL, Study

ALL_TEST = {"train": 0, "val": 0, "test": 1}
NAMED = 3  # missing files that a refusal names


def completed(own: Mapping[str, Any], root: Path, where: str) -> dict[str, Any]:
    """The document with what it takes from the study it stands on; its own word on any of that is refused."""
    base, external = own.get("base"), own.get("external")
    if base and external:
        raise _refused(
            where,
            f"base: {base} and external: {external} are both given",
            "A base brings its images, and an external validation is on images of one's own.",
            "Leave one of them out.",
        )
    if base:
        return _taken(own, "base", str(base), TAKEN_FROM_BASE, root, where) | dict(own)
    if external:
        taken = _taken(own, "external", str(external), (*TAKEN_FROM_EXTERNAL, "split"), root, where)
        return taken | dict(own) | {"split": ALL_TEST}
    return dict(own)


def trained_classes(study: Study, layout: Layout, where: str) -> list[str]:
    """What the outputs of an external study's models are called, from their cards; models that are not there are refused."""
    models = [(arch, seed) for arch in study.architectures for seed in study.seeds]
    asked = [layout.weights, layout.trained_card, layout.trained_predictions]
    paths = [path.format(arch=arch, seed=seed) for arch, seed in models for path in asked]
    missing = [path for path in (layout.trained_manifest, layout.trained_splits, *paths) if not Path(path).is_file()]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise _refused(
            where,
            f"external: of study {study.external} there is no {', '.join(missing[:NAMED])}{more}",
            "An external validation takes models as they are and trains none.",
            f"Run that study first: `snakemake --configfile` with the file that says `study: {study.external}`.",
        )
    cards = [json.loads(Path(layout.trained_card.format(arch=arch, seed=seed)).read_text()) for arch, seed in models]
    image = {"size": study.image.size, "channels": study.image.channels}
    for (arch, seed), card in zip(models, cards, strict=True):
        found = {key: card["spec"][key] for key in image}
        if found != image or card["classes"] != cards[0]["classes"]:
            raise _refused(
                where,
                f"external: {arch} with seed {seed} of study {study.external} was trained with {found} and "
                f"classes {card['classes']}, not with {image} and {cards[0]['classes']}",
                "That study's file has changed since, so it no longer says what its models are.",
                "Run that study again, or put its file back as it was.",
            )
    return list(cards[0]["classes"])


def _taken(
    own: Mapping[str, Any], key: str, name: str, taken: tuple[str, ...], root: Path, where: str
) -> dict[str, Any]:
    """What the other study says on the keys that are taken from it."""
    clash, found = [word for word in taken if word in own], _found(name, root)
    problem = (
        f"it stands on `{key}: {name}` and also says {', '.join(clash)}"
        if clash
        else f"there is no study `{name}` in config/"
        if found is None
        else f"`{name}` stands on {'a base' if found.get('base') else 'another study'} itself"
        if found.get("base") or found.get("external")
        else f"a study and its {key if key == 'base' else 'external study'} need two names"
        if own.get("study") == name
        else ""
    )
    if problem or found is None:
        why = (
            f"{', '.join(taken)} are the base's, the same files, never made twice."
            if key == "base"
            else f"{', '.join(TAKEN_FROM_EXTERNAL)} are those of the models; there is no split, as every image is test."
        )
        raise _refused(
            where,
            f"{key}: {problem}",
            why,
            f"Leave these keys out, or write a study of its own; `{key}` names config/studies/<study>.yaml that stands on nothing.",
        )
    return {word: found[word] for word in taken if word in found}


def _found(name: str, root: Path) -> dict[str, Any] | None:
    """The document of a study in config/."""
    for path in (root / "config" / "studies" / f"{name}.yaml", root / "config" / "config.yaml"):
        if path.is_file() and (document := yaml.safe_load(path.read_text())).get("study") == name:
            return dict(document)
    return None


def _refused(where: str, found: str, why: str, then: str) -> StudyInvalid:
    return StudyInvalid(found=f"{where}: {found}.", why=why, then=then)
