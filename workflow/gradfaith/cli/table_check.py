"""Describe a study of tables before anything runs: its columns as they will be read, its groups, its split, its methods.

The table is read, encoded and split by the functions of rule `table_index`, so the check and the study agree. Cost: one pass
over the table.
"""

from collections.abc import Iterator
from pathlib import Path

from gradfaith import registry
from gradfaith.attribution.tabular.cell import check_boundary
from gradfaith.config.tabular import CONTROLS, TabularStudy
from gradfaith.dag.tabular import TablePlan
from gradfaith.data.split import split
from gradfaith.data.tabular.columns import (
    EncodedTable,
    SourceTable,
    TableColumn,
    audit_table,
    encode_table,
    make_manifest,
    table_caution,
)
from gradfaith.vocabulary import PARTS

Found = tuple[str, str]  # what, and what was found


def describe_plan(plan: TablePlan) -> Iterator[Found]:
    """Yield what a study of tables computes."""
    study = plan.study
    models = len(study.models) * len(study.seeds)
    yield "study", f"{study.study}: {study.table.task} on table {study.table.source}"
    yield "models", f"{models} models ({', '.join(study.models)}; seeds {study.seeds})"
    yield "methods", f"{', '.join(study.methods)}; controls {', '.join(CONTROLS)} and shuffled numbers of each method"


def describe_table(plan: TablePlan) -> Iterator[Found]:
    """Yield what is found in the table; raise the error with which rule `table_index` would end."""
    study, how = plan.study, plan.study.table
    if plan.sources and not all(Path(path).is_file() for path in plan.raw_inputs()):
        yield "table", f"not there yet; rule fetch gets it from: {'; '.join(map(str, plan.sources))}"
        return
    source: SourceTable = registry.load("table_sources", how.source).read(**how.options)
    table = encode_table(source, how.task, how.positive, how.keep)
    yield "table", f"{len(table.rows)} rows, {len(table.features)} of {len(table.columns)} columns are features"
    yield (
        "target",
        f'the positive class is "{table.positive}"' if table.positive else "a number; its classes are quarters",
    )
    yield from (("note", note) for note in table.notes)
    yield from ((f"column {column.name}", _describe_column(column)) for column in table.columns)
    check_boundary(study.explain.boundary, [column.name for column in table.features if column.kind == "number"])
    yield from _describe_methods(study, table)
    manifest = make_manifest(table, source)
    groups, fewest = int(manifest["group"].nunique()), study.statistics.min_groups
    few = f"; fewer than {fewest}, so there are no intervals" if groups < fewest else ""
    yield (
        "groups",
        ("each row is a group of its own" if source.group is None else f"{groups} groups, from a column") + few,
    )
    shares = {part: getattr(study.split, part) for part in PARTS}
    parts = split(manifest, shares, classes=plan.classes, tolerance=study.split.tolerance, seed=study.seed)
    audit = audit_table(table.content(), manifest, parts)
    counts = parts["part"].value_counts()
    yield "split", ", ".join(f"{counts.get(part, 0)} {part}" for part in PARTS)
    across = audit["duplicates_across_the_split"]["rows"]
    yield "equal rows", f"{audit['duplicates']} rows have an equal row; {across} of them in another part of the split"
    if caution := table_caution(audit)["caution"]:
        yield "warning", caution


def _describe_column(column: TableColumn) -> str:
    count = len(column.categories)
    kind = f"category of {'one value' if count == 1 else f'{count} values'}" if column.kind == "category" else "number"
    state = "" if column.used else ", left out"
    return f"{kind}{state}{f': {column.finding}' if column.finding else ''}"


def _describe_methods(study: TabularStudy, table: EncodedTable) -> Iterator[Found]:
    """Yield the methods that some models, or this many features, rule out."""
    inside = {
        label: registry.entry("table_models", use.use).declared.get("inside", "nothing")
        for label, use in study.models.items()
    }
    for label, use in study.methods.items():
        declared = registry.entry("table_methods", use.use).declared
        need, most = declared.get("inside", ""), declared.get("most_features")
        if most is not None and len(table.features) > most:
            yield f"method {label}", f"skipped: it takes at most {most} features, the table has {len(table.features)}"
        elif need and (own := [name for name, has in inside.items() if has == need]) != list(inside):
            yield f"method {label}", f"on {', '.join(own) or 'no model of this study'}: it reads the inside of {need}"
