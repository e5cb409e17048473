"""Table 1 of "How to evaluate and refine your CAM": each method and its RefineCAM, network by network, by ARCC.

    base      the method at a layer of its own: in the paper, the network's first stage
    refined   the product of its maps at all stages
    last      the method at the network's last stage, the usual choice; not in the paper's table

A method that combines no layers has one value, and "N.A." beside it as in the paper. A row joins a method with the variant of
the literature that a study uses on networks for which the method itself is not defined; a footnote marks those values. The
second block has the differences refined minus base on the same images and seeds. The third one names the best method of
each network among those of layers, which is the paper's "strongest on three of four".
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.tables.contract import (
    Block,
    Cell,
    Sheet,
    Table,
    architecture_block,
    estimate_cell,
    interval_sentence,
)
from gradfaith.vocabulary import SHUFFLED

TABLE = Table(
    needs=("estimates", "contrasts"),
    optional=True,
    section="Methods and controls",
    place=31,
    title="Methods and their refinements",
)
PLUGINS = ("arcc", "arcc_literature")
PRODUCT, LITERATURE = "product", "_literature"
TRIVIAL = ("random", "half", "uniform")
ARMS = ("base", "refined", "last stage")
WHAT = (
    "Base: the method at the first stage of the network. Refined: RefineCAM, the product of its maps at all stages. Last stage: the "
    "method at the last stage. Higher is better."
)
DIFFERENCES = (
    "Refined minus base, and refined minus last stage, on the same images and seeds. Each interval is that of one difference; none "
    "is adjusted for their number."
)
VARIANT_NOTE = "the variant of the literature, because the method itself is not defined for this network"
Labels = dict[str, dict[str, list[str]]]  # row -> arm -> labels of the study


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return a block per metric, then differences and the best methods of the first one."""
    rows, labels = metric_rows.rows_by_metric(PLUGINS, tables["estimates"], about.metrics), layered_labels(about)
    blocks = [_values(metric, own, labels, about) for metric, own in rows.items()]
    if rows:
        first = next(iter(rows))
        differences = metric_rows.rows_of_metric(tables["contrasts"], first)
        blocks += [_differences(first, differences, labels, about), _best(first, rows[first], labels, about)]
    data = pd.concat([*rows.values(), tables["estimates"][:0]])
    lead = (WHAT, interval_sentence(data, about), *about.notes)
    return Sheet(f"Methods and their refinements, {about.title}", lead, blocks, data)


def layered_labels(about: StudyDescription) -> Labels:
    """Return the labels of each combined method by arm; a method and its variant of the literature are one row."""
    found: Labels = {}
    for label, refined in about.refinements.items():
        if refined.combine == PRODUCT:
            row = found.setdefault(refined.of.removesuffix(LITERATURE), {arm: [] for arm in ARMS})
            for arm, own in zip(ARMS, (refined.same_layer, label, refined.last_layer), strict=True):
                row[arm] += [own] * bool(own)
    return found


def _values(metric: str, rows: pd.DataFrame, labels: Labels, about: StudyDescription) -> Block:
    head = ["method", *(f"{arch}: {arm}" for arch in about.architectures for arm in ARMS)]
    lines = [
        [Cell(name), *(_cell(rows, arch, arms[arm]) for arch in about.architectures for arm in ARMS)]
        for name, arms in labels.items()
    ]
    for name, own in _others(rows, labels, about).items():
        cells = ([_cell(rows, arch, own), Cell("N.A."), Cell("N.A.")] for arch in about.architectures)
        lines.append([Cell(name), *(cell for three in cells for cell in three)])
    return Block(metric_rows.display_label(metric, about.metrics), head, lines)


def _others(rows: pd.DataFrame, labels: Labels, about: StudyDescription) -> dict[str, list[str]]:
    """Return the methods that combine no layers, then the trivial controls, each with its labels."""
    used = {label for arms in labels.values() for own in arms.values() for label in own} | set(about.refinements)
    names = metric_rows.methods_in_display_order(rows, about.controls)
    own = [name for name in names if not metric_rows.is_control(name, about.controls) and name not in used]
    found: dict[str, list[str]] = {}
    for label in [*own, *(name for name in TRIVIAL if name in names)]:
        found.setdefault(label.removesuffix(LITERATURE), []).append(label)
    return found


def _cell(rows: pd.DataFrame, arch: str, labels: Sequence[str]) -> Cell:
    """Return the value of the one of some labels that runs on an architecture."""
    own = rows[(rows["arch"] == arch) & rows["method"].isin(labels)]
    cell = estimate_cell(own, digits=2)
    is_variant = len(own) > 0 and _is_variant(str(own["method"].iloc[0]))
    return Cell(cell.text, "; ".join(filter(None, (cell.footnote, VARIANT_NOTE * is_variant))))


def _is_variant(label: str) -> bool:
    return LITERATURE.removeprefix("_") in label.replace(SHUFFLED, "")


def _differences(metric: str, contrasts: pd.DataFrame, labels: Labels, about: StudyDescription) -> Block:
    pairs = [(arch, ARMS[1], against) for arch in about.architectures for against in (ARMS[0], ARMS[2])]
    head = ["method", *(f"{arch}: {first} minus {second}" for arch, first, second in pairs)]
    lines = [
        [Cell(name), *(_difference(contrasts, arch, arms[first], arms[second]) for arch, first, second in pairs)]
        for name, arms in labels.items()
    ]
    return Block(f"{metric_rows.display_label(metric, about.metrics)}: differences", head, lines, (DIFFERENCES,))


def _difference(contrasts: pd.DataFrame, arch: str, minuend: Sequence[str], opponent: Sequence[str]) -> Cell:
    """Return the difference of two methods, in whichever order the study compared them."""
    here = contrasts[
        (contrasts["arch"] == arch) & contrasts["comparison"].isin(("method", "base")) & (contrasts["label"] == "")
    ]
    forward = here[here["method"].isin(minuend) & here["against"].isin(opponent)]
    if len(forward):
        return estimate_cell(forward[:1], digits=2, signed=True)
    back = here[here["method"].isin(opponent) & here["against"].isin(minuend)][:1]
    turned = back.assign(value=-back["value"], low=-back["high"], high=-back["low"])
    return estimate_cell(turned, digits=2, signed=True)


def _best(metric: str, rows: pd.DataFrame, labels: Labels, about: StudyDescription) -> Block:
    """Name the layered method with the highest value on each network, and the refined one."""

    def highest(arch: str, arm: str) -> Cell:
        own = rows[(rows["arch"] == arch) & rows["method"].isin([x for row in labels.values() for x in row[arm]])]
        own = own[own["value"].notna()].sort_values("value", ascending=False, kind="stable")[:1]
        return Cell(f"{own['method'].iloc[0]}: {estimate_cell(own, digits=2).text}" if len(own) else "-")

    caption = f"{metric_rows.display_label(metric, about.metrics)}: the best method of each arm"
    return architecture_block(caption, about.architectures, ARMS, highest)
