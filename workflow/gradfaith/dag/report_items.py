"""Order the results of Snakemake's report as a reader wants them, and name them in words.

Snakemake sorts categories and results by their text, so each carries its number. A figure or table declares the section it
belongs to, its place in it, and its title.
"""

from collections import Counter
from dataclasses import dataclass

from gradfaith import registry
from gradfaith.dag.plan import Plan

OTHER = "Other results"  # of plug-ins that declare no section
SECTIONS = (
    "Summary",
    "Classification",
    "Example images",
    "Explained rows",
    "Methods and controls",
    "Claims",
    "Evaluation of the metrics",
    "Data and training",
    OTHER,
)
LAST_PLACE = 99


@dataclass(frozen=True)
class ReportItem:
    """Where a figure or table stands in the report, and under which name."""

    category: str
    labels: dict[str, str]  # one only: of a second one that has two values Snakemake makes a switch


def report_items(plan: Plan) -> dict[tuple[str, str], ReportItem]:
    """Return the item of every figure and table of a study, by group ("figures", "tables") and label."""
    uses = {("figures", label): use.use for label, use in plan.figures.items()}
    uses |= {("tables", name): name for name in plan.tables}
    declared = {key: registry.entry(key[0], use).declared for key, use in uses.items()}
    sections = {key: str(said.get("section", OTHER)) for key, said in declared.items()}
    order = sorted(uses, key=lambda key: (SECTIONS.index(sections[key]), declared[key].get("place", LAST_PLACE), key))
    present = [section for section in SECTIONS if section in sections.values()]
    many, numbers, items = Counter(sections.values()), Counter[str](), {}
    for group, label in order:
        section, use = sections[group, label], uses[group, label]
        numbers[section] += 1
        number = str(numbers[section]).zfill(len(str(many[section])))
        title = str(declared[group, label].get("title", use.replace("_", " ").capitalize()))
        title += f": {label.replace('_', ' ')}" if label != use else ""
        name = f"{number}. {title}" + (" (table)" if group == "tables" and section != SECTIONS[0] else "")
        items[group, label] = ReportItem(f"{present.index(section) + 1}. {section}", {"result": name})
    return items
