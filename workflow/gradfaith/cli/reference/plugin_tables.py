"""Describe every method, control and metric in tables, as plain text or Markdown.

    methods, controls   what each needs and gives, what it costs, for which networks it is defined, its source
    metrics             one table per family: what each reads, range, chance level, cost, what fools it, its source

Everything is read off the syntax trees (registry.py), so the tables need no torch and are printed at once.
For which networks a method is defined comes from cli/method_support.py, which builds the networks.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from gradfaith import registry
from gradfaith.registry import Entry
from gradfaith.reporting.escaping import markdown
from gradfaith.vocabulary import RERUN_BATTERY

WIDTH = 120
METHOD_GROUPS = {"methods": "Methods", "controls": "Controls, which do not use the model"}
MethodSupport = Mapping[str, Mapping[str, str]]  # architecture -> method -> "", or why it is not defined there
METHOD_HEADS = ("name", "needs", "only where", "map", "passes", "source")
REQUIREMENTS = {
    "linear_head": "one linear layer follows",
    "relu": "ReLUs alone",
    "rescale": "ReLUs alone, no layer norm",
    "single_use": "no activation used twice",
    "chain": "no branches",
    "attention": "attention in all blocks",
}
METHODS_FOOTER = (
    "Passes are what one map needs, in addition to one forward pass that all methods of a bundle share. These",
    "methods also share backward passes. The head is the part of the network after the layer. A study lists its",
    "methods under `bundles:`. Controls are in every study and need not be listed.",
)


def methods_text(support: MethodSupport) -> str:
    """Return the table of methods and controls in columns of plain text, with summaries and options on lines below."""
    lines: list[str] = []
    for group, title in METHOD_GROUPS.items():
        entries = list(registry.entries(group).values())
        rows = [METHOD_HEADS, *(method_cells(entry) for entry in entries)]
        widths = _column_widths(rows)
        lines += [title, "", *_wrap_row(METHOD_HEADS, widths)]
        for entry, row in zip(entries, rows[1:], strict=True):
            lines += _wrap_row(row, widths)
            for more in (entry.summary, _options_line(entry), *_support_lines(entry, support)):
                lines += textwrap.wrap(more, WIDTH, initial_indent="    ", subsequent_indent="      ")
        lines.append("")
    return "\n".join((*lines, *METHODS_FOOTER)) + "\n"


def methods_data(support: MethodSupport) -> list[dict[str, Any]]:
    """Return every method and control as plain data, for JSON."""
    return [
        {
            "name": entry.name,
            "group": group,
            "summary": entry.summary,
            "declared": dict(entry.declared),
            "options": {key: option.default for key, option in entry.options.items()},
            "undefined": {arch: why[entry.name] for arch, why in support.items() if why[entry.name]},
            "defined": [arch for arch, why in support.items() if not why[entry.name]],
        }
        for group in METHOD_GROUPS
        for entry in registry.entries(group).values()
    ]


def methods_markdown(support: MethodSupport) -> str:
    """Return the tables of methods and controls as Markdown."""
    lines: list[str] = []
    for group, title in METHOD_GROUPS.items():
        heads = (METHOD_HEADS[0], "what it is", *METHOD_HEADS[1:], "options", *map(markdown, support))
        lines += [f"## {title}", "", markdown_row(heads), "|---" * len(heads) + "|"]
        for entry in registry.entries(group).values():
            name, *rest = method_cells(entry)
            verdicts = ("yes" if not why[entry.name] else f"no: {why[entry.name]}" for why in support.values())
            texts = map(markdown, (entry.summary, *rest))
            options = format_options(entry, code=True)
            lines.append(markdown_row((markdown(name, code=True), *texts, options, *map(markdown, verdicts))))
        lines.append("")
    return "\n".join((*lines, *METHODS_FOOTER)) + "\n"


def method_cells(entry: Entry) -> tuple[str, ...]:
    """Return what a method declares, in the order of METHOD_HEADS."""
    declared = entry.declared
    only = ", ".join(REQUIREMENTS.get(trait, trait) for trait in declared.get("requires", ()))
    sign = "signed" if declared["signed"] else "unsigned"
    kind = [declared["grid"], sign, *(["seeded"] if declared.get("seeded") else [])]
    kind += [] if declared.get("targeted", True) else ["same for all classes"]
    needs = ", ".join(declared["needs"])
    return entry.name, needs, only or "-", ", ".join(kind), format_passes(declared), declared.get("cite") or "-"


def format_passes(declared: Mapping[str, Any]) -> str:
    """Return the passes of a method in words: "1 forward, 2 backwards"."""
    kinds = (("forwards", "forward"), ("backwards", "backward"), ("head_passes", "forward of the head"))
    parts = [_format_count(declared[key], word) for key, word in kinds if declared.get(key)]
    return ", ".join(parts) or "none"


def _format_count(count: int | str, word: str) -> str:
    """Return a count in words: 2 -> "2 forwards"; "channels" -> "a forward per channel"; "steps + 2" -> "a forward per step and 2 more".

    "orders * superpixels + 1" -> "a forward per order and superpixel and 1 more".
    """
    if isinstance(count, int):
        return f"{count} {word}" if count == 1 else f"{count} {word.replace('ward', 'wards', 1)}"
    match = re.fullmatch(r"(\w+?)s?(?: \* (\w+?)s?)?(?: \+ (\d+))?", count)
    if match is None:
        return f"{count} {word.replace('ward', 'wards', 1)}"
    units = " and ".join(unit.replace("_", " ") for unit in match.groups()[:2] if unit)
    return f"a {word} per {units}" + (f" and {match[3]} more" if match[3] else "")


def format_options(entry: Entry, *, code: bool = False) -> str:
    """Return every option with its default, and the limits that options must keep; `code`: as code in Markdown."""
    show = partial(markdown, code=True) if code else str
    defaults = (show(f"{key}: {option.default!r}") for key, option in entry.options.items())
    limits = ", ".join(map(show, entry.declared.get("limits", ())))
    return (", ".join(defaults) or "none") + (f"; {limits}" if limits else "")


def _options_line(entry: Entry) -> str:
    return f"options: {format_options(entry)}" if entry.options else ""


def _support_lines(entry: Entry, support: MethodSupport) -> Iterator[str]:
    """Yield for which architectures a method is defined, and for each other one why it is not."""
    there = [arch for arch, why in support.items() if not why[entry.name]]
    if there:
        yield f"defined for {', '.join(there)}"
    for arch, why in support.items():
        if why[entry.name]:
            yield f"not for {arch}: {why[entry.name]}"


def _column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of every column: its longest cell; if the sum exceeds WIDTH, the widest columns are narrowed."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths[widths.index(max(widths[1:-1]), 1)] -= 1
    return widths


def _wrap_row(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    columns = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    return [
        "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*columns, fillvalue="")
    ]


def markdown_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table; the cells are Markdown."""
    return f"| {' | '.join(cells)} |"


METRIC_HEADS = (
    "name", "what it is", "map of", "range", "better", "by chance", "unchanged by", "forwards", "fooled by", "source", "how it differs",
)  # fmt: skip
CHANCE_NOTES = {"area": "the region's share of the image", "": "-"}
INVARIANCE_NOTES = {"scale": "a factor", "monotone": "any increasing change", "flip": "mirroring all"}


def metrics_markdown() -> str:
    """Return a Markdown heading and table for every family of metrics."""
    lines: list[str] = []
    for group, place in registry.PLUGIN_GROUPS.items():
        if place.declaration == "METRIC":
            lines += [f"## {group.capitalize()}", "", markdown_row(METRIC_HEADS), "|---" * len(METRIC_HEADS) + "|"]
            lines += [markdown_row(_metric_cells(entry)) for entry in registry.entries(group).values()] + [""]
    return "\n".join(lines)


def _metric_cells(entry: Entry) -> tuple[str, ...]:
    declared = entry.declared
    low, high = ("" if bound is None else f"{bound:g}" for bound in declared["bounds"])
    chance = declared.get("chance", "")
    texts = (
        entry.summary,
        f"{declared['target']} class",
        f"{low or 'unbounded'} to {high or 'unbounded'}",
        declared["better"],
        CHANCE_NOTES.get(chance, chance),
        _format_words(declared, "invariances", INVARIANCE_NOTES),
        _format_cost(declared),
        _format_words(declared, "fooled_by", {}),
        declared.get("cite") or "-",
        declared.get("differs") or "-",
    )
    return markdown(entry.name, code=True), *map(markdown, texts)


def _format_cost(declared: Mapping[str, Any]) -> str:
    """Return forwards, runs of the method, or the metrics whose scores a composite reads."""
    if parts := declared.get("parts"):
        return "made of " + ", ".join(f"{name} ({imputer})" if imputer else name for name, imputer in parts.items())
    count = str(declared.get("forwards") or "none")
    return f"{count} of the method" if declared.get("battery") == RERUN_BATTERY else count


def _format_words(declared: Mapping[str, Any], key: str, meanings: Mapping[str, str]) -> str:
    return ", ".join(meanings.get(word, word) for word in declared.get(key, ())) or "-"
