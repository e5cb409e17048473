"""Limits of options: what a file says its options must keep, held to before anything is trained.

    limits=("steps >= 1", "samples >= 2 * segments or allow_underdetermined", "0 < shares < 1", "window <= size")

They are conditions on the names of the options, read from the syntax tree (registry.py). An option with several numbers must
have one at least, and each must keep the limit. `size` is the side of the study's images, `seeds` the number of its seeds.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gradfaith import registry

if TYPE_CHECKING:
    from gradfaith.config.study import Study, Uses


def problems(study: "Study") -> list[str]:
    """Options of a study that no file can work with, each by its key."""
    known = {"size": study.image.size, "seeds": len(study.seeds)}
    return [
        f"{path}.{label}.options.{line}"
        for path, room, uses in _named(study)
        for label, use in uses.items()
        for line in broken(room, use.use, use.options, known)
    ]


def broken(room: str, name: str, values: Mapping[str, Any], study: Mapping[str, int]) -> list[str]:
    """The limits that options do not keep, each as `option: what is needed, and what was found`."""
    lines = []
    for limit in registry.entry(room, name).declared.get("limits", ()):
        if not _kept(limit, {**study, **values}):
            own = [word for word in words(limit) if word in values]
            known = [f"{word}: {study[word]}" for word in words(limit) if word in study]
            found = ", ".join([f"{word}: {values[word]!r}" for word in own] + known)
            lines.append(f"{own[0]}: {name} needs {limit}, found {found}")
    return lines


def words(limit: str) -> list[str]:
    """The names in a limit, in its order."""
    return [word for word in dict.fromkeys(re.findall(r"[a-z_]+", limit)) if word not in {"and", "or", "not"}]


def _kept(limit: str, values: Mapping[str, Any]) -> bool:
    several = [word for word in words(limit) if isinstance(values[word], list | tuple)]
    if not several:
        return bool(eval(limit, {"__builtins__": {}}, dict(values)))
    (word,) = several
    return bool(values[word]) and all(_kept(limit, {**values, word: value}) for value in values[word])


def _named(study: "Study") -> Iterator[tuple[str, str, Mapping[str, "Uses"]]]:
    """Where a study names files: the key, their room, and how they are used."""
    yield "localization", "localization", study.localization
    yield "agreement", "agreement", study.agreement
    yield "composite", "composite", study.composite
    yield "figures", "figures", study.figures
    for name, bundle in study.bundles.items():
        yield f"bundles.{name}.methods", "methods", bundle.methods
    for name, battery in study.batteries.items():
        yield f"batteries.{name}.metrics", "faithfulness", battery.metrics
        yield f"batteries.{name}.imputers", "imputers", battery.imputers
