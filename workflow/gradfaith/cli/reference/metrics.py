"""Every metric in one table per family: what it reads, its range and chance level, what it costs, what fools it, its source.

All is read off the syntax trees (registry.py), as the methods' table is (cli/reference/methods.py).
"""

from collections.abc import Mapping
from typing import Any

from gradfaith import registry
from gradfaith.cli.reference.methods import line
from gradfaith.metrics.contract import RERUN
from gradfaith.registry import Entry

HEADS = (
    "name", "what it is", "map of", "range", "better", "by chance", "unchanged by", "forwards", "fooled by", "source", "how it differs",
)  # fmt: skip
CHANCE = {"area": "the region's share of the image", "": "-"}
INVARIANCES = {"scale": "a factor", "monotone": "any increasing change", "flip": "mirroring all"}


def metrics_markdown() -> str:
    """A heading and a table for every family that has a file."""
    lines: list[str] = []
    for room, place in registry.ROOMS.items():
        if place.declaration == "METRIC":
            lines += [f"### {room.capitalize()}", "", line(HEADS), "|---" * len(HEADS) + "|"]
            lines += [line(_cells(entry)) for entry in registry.entries(room).values()] + [""]
    return "\n".join(lines)


def _cells(entry: Entry) -> tuple[str, ...]:
    said = entry.declared
    low, high = ("" if bound is None else f"{bound:g}" for bound in said["bounds"])
    chance = said.get("chance", "")
    return (
        f"`{entry.name}`",
        entry.summary,
        f"{said['target']} class",
        f"{low or 'unbounded'} to {high or 'unbounded'}",
        said["better"],
        CHANCE.get(chance, chance),
        _words(said, "invariances", INVARIANCES),
        _cost(said),
        _words(said, "fooled_by", {}),
        said.get("cite") or "-",
        said.get("differs") or "-",
    )


def _cost(said: Mapping[str, Any]) -> str:
    """Forwards, runs of the method, or the metrics whose scores a composite reads."""
    if parts := said.get("parts"):
        return "made of " + ", ".join(f"{name} ({imputer})" if imputer else name for name, imputer in parts.items())
    count = str(said.get("forwards") or "none")
    return f"{count} of the method" if said.get("battery") == RERUN else count


def _words(said: Mapping[str, Any], key: str, meanings: Mapping[str, str]) -> str:
    return ", ".join(meanings.get(word, word) for word in said.get(key, ())) or "-"
