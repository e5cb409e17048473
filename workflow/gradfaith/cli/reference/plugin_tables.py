"""Every method and control in one table: what it needs and gives, what it costs, for which networks it is, and its source.

All is read off the syntax trees (registry.py), so that the table is there at once; for which networks a method is defined
comes from method_support.py, which builds them.

Every metric in one table per family: what it reads, its range and chance level, what it costs, what fools it, its source.

All is read off the syntax trees (registry.py), as the methods' table is (cli/reference/methods.py).
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from gradfaith import registry
from gradfaith.metrics.contract import RERUN
from gradfaith.registry import Entry

WIDTH = 120
ROOMS = {"methods": "Methods", "controls": "Controls, which know nothing of the model"}
Defined = Mapping[str, Mapping[str, str]]  # architecture -> method -> "", or why it is not defined there
HEADS = ("name", "needs", "only where", "map", "passes", "source")
ONLY = {
    "linear_head": "one linear layer follows",
    "relu": "ReLUs alone",
    "rescale": "ReLUs alone, no layer norm",
    "chain": "no branches",
    "attention": "attention in all blocks",
}
FOOT = (
    "Passes are per map, beyond the one forward that a bundle shares; its methods share backwards, too. The head is the",
    "network from the layer on. A study names methods under `bundles`; the controls are in every study.",
)


def text(defined: Defined) -> str:
    """Columns of plain text, the summary and the options of each on lines of their own."""
    lines: list[str] = []
    for room, title in ROOMS.items():
        entries = list(registry.entries(room).values())
        rows = [HEADS, *(cells(entry) for entry in entries)]
        widths = _widths(rows)
        lines += [title, "", *_row(HEADS, widths)]
        for entry, row in zip(entries, rows[1:], strict=True):
            lines += _row(row, widths)
            for more in (entry.summary, _options(entry), *_verdicts(entry, defined)):
                lines += textwrap.wrap(more, WIDTH, initial_indent="    ", subsequent_indent="      ")
        lines.append("")
    return "\n".join((*lines, *FOOT)) + "\n"


def methods_markdown(defined: Defined) -> str:
    """The same as Markdown tables."""
    lines: list[str] = []
    for room, title in ROOMS.items():
        heads = (HEADS[0], "what it is", *HEADS[1:], "options", *defined)
        lines += [f"### {title}", "", line(heads), "|---" * len(heads) + "|"]
        for entry in registry.entries(room).values():
            name, *rest = cells(entry)
            verdicts = ("yes" if not why[entry.name] else f"no: {why[entry.name]}" for why in defined.values())
            lines.append(line((f"`{name}`", entry.summary, *rest, options(entry), *verdicts)))
        lines.append("")
    return "\n".join((*lines, *FOOT)) + "\n"


def cells(entry: Entry) -> tuple[str, ...]:
    """What a method declares, in the order of HEADS."""
    declared = entry.declared
    only = ", ".join(ONLY.get(trait, trait) for trait in declared.get("requires", ()))
    sign = "signed" if declared["signed"] else "unsigned"
    kind = [declared["grid"], sign, *(["seeded"] if declared.get("seeded") else [])]
    kind += [] if declared.get("targeted", True) else ["same for all classes"]
    needs = ", ".join(declared["needs"])
    return entry.name, needs, only or "-", ", ".join(kind), passes(declared), declared.get("cite") or "-"


def passes(declared: Mapping[str, Any]) -> str:
    """Counts of passes as a person says them."""
    kinds = (("forwards", "forward"), ("backwards", "backward"), ("heads", "forward of the head"))
    said = [_count(declared[key], word) for key, word in kinds if declared.get(key)]
    return ", ".join(said) or "none"


def _count(count: int | str, word: str) -> str:
    """2 -> "2 forwards"; "channels" -> "a forward per channel"; "steps + 2" -> "a forward per step and 2 more"."""
    if isinstance(count, int):
        return f"{count} {word}" if count == 1 else f"{count} {word.replace('ward', 'wards', 1)}"
    match = re.fullmatch(r"(\w+?)s?(?: \+ (\d+))?", count)
    if match is None:
        return f"{count} {word.replace('ward', 'wards', 1)}"
    return f"a {word} per {match[1].replace('_', ' ')}" + (f" and {match[2]} more" if match[2] else "")


def options(entry: Entry, quote: str = "`") -> str:
    """Every option with its default, and what they must keep."""
    defaults = (f"{quote}{key}: {option.default!r}{quote}" for key, option in entry.options.items())
    limits = ", ".join(f"{quote}{limit}{quote}" for limit in entry.declared.get("limits", ()))
    return (", ".join(defaults) or "none") + (f"; {limits}" if limits else "")


def _options(entry: Entry) -> str:
    return f"options: {options(entry, quote='')}" if entry.options else ""


def _verdicts(entry: Entry, defined: Defined) -> Iterator[str]:
    """For which architectures it is defined, and of each other why not."""
    there = [arch for arch, why in defined.items() if not why[entry.name]]
    if there:
        yield f"defined for {', '.join(there)}"
    for arch, why in defined.items():
        if why[entry.name]:
            yield f"not for {arch}: {why[entry.name]}"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Every column as wide as its longest cell; where that is too much, the widest between name and source gives way."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths[widths.index(max(widths[1:-1]), 1)] -= 1
    return widths


def _row(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    columns = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    return [
        "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*columns, fillvalue="")
    ]


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


METRIC_HEADS = (
    "name", "what it is", "map of", "range", "better", "by chance", "unchanged by", "forwards", "fooled by", "source", "how it differs",
)  # fmt: skip
CHANCE = {"area": "the region's share of the image", "": "-"}
INVARIANCES = {"scale": "a factor", "monotone": "any increasing change", "flip": "mirroring all"}


def metrics_markdown() -> str:
    """A heading and a table for every family that has a file."""
    lines: list[str] = []
    for room, place in registry.ROOMS.items():
        if place.declaration == "METRIC":
            lines += [f"### {room.capitalize()}", "", line(METRIC_HEADS), "|---" * len(METRIC_HEADS) + "|"]
            lines += [line(_metric_cells(entry)) for entry in registry.entries(room).values()] + [""]
    return "\n".join(lines)


def _metric_cells(entry: Entry) -> tuple[str, ...]:
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
