"""The two tables of a study: how well the architectures classify, and how far their maps can be believed.

    classification   Table I of the paper, with intervals, balanced accuracy, AUROC, time and size; then class by class
    maps             every method and every control on every metric, paired contrasts, and the metrics' other variants

Numbers are taken as they come from stats/, and only written down here. Where there is no interval, a footnote says why.
The CSV holds the same rows in full, one number per line. How a sheet becomes Markdown or LaTeX: reporting/tables/sheet.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import words
from gradfaith.reporting.tables.sheet import Block, Cell, Sheet
from gradfaith.vocabulary import SHUFFLED

RATES = ("sensitivity", "specificity", "precision", "recall", "f1", "accuracy", "balanced_accuracy", "auroc")
LOST = ("undefined", "degenerate", "failed")
CSV = (
    "arch", "arch2", "method", "against", "metric", "variant", "layer", "target", "by", "stratum", "value", "low", "high", "se", "p", "p_holm",
    "share_better", "n_images", "n_groups", "n_seeds", "seeds", *(f"n_{status}" for status in LOST), "n_lost", "interval", "reason", "primary",
)  # fmt: skip


def classification(table: pd.DataFrame, predictions: pd.DataFrame, about: Mapping[str, Any]) -> Sheet:
    """Table I. `predictions`: of all models, for time and size; may be empty."""
    speed = _speed(predictions)
    archs = [name for name in about["architectures"] if name in set(table["arch"])]
    whole = [
        [
            Cell(arch),
            *_line(metric_rows.overall(table), RATES, arch=arch),
            *(Cell(text) for text in speed.get(arch, ("-", "-"))),
        ]
        for arch in archs
    ]
    there = [metric for metric in RATES if set(table.loc[table["metric"] == metric, "class"]) & set(about["classes"])]
    classes = [
        [Cell(arch), Cell(name), *_line(table, there, **{"arch": arch, "class": name})]
        for arch in archs
        for name in about["classes"]
    ]
    head = ["architecture", *map(words, RATES)]
    return Sheet(
        f"Classification, {about['title']}",
        (
            f"Macro averages over {len(about['classes'])} classes, test part. {basis(metric_rows.overall(table), about)}",
            *about["notes"],
        ),
        (
            Block("By architecture", [*head, "ms per image", "parameters (M)"], whole),
            Block("By class", ["architecture", "class", *map(words, there)], classes),
        ),
        table,
    )


def maps(estimates: pd.DataFrame, contrasts: pd.DataFrame, about: Mapping[str, Any]) -> Sheet:
    """Every method and control on every metric, and every paired contrast."""
    everything, estimates = estimates, metric_rows.whole(estimates)
    columns, controls, blind = _columns(estimates), about["controls"], about["evidence"] == "none"
    main = [
        column
        for column in columns
        if column[1] in (metric_rows.primary_variant(estimates, column[0]), *metric_rows.BASELINES)
    ]
    other = [column for column in columns if column not in main]
    paired = [
        column for column in main if column[1] not in metric_rows.BASELINES and column[0] in set(contrasts["metric"])
    ]
    archs = [name for name in about["architectures"] if name in set(estimates["arch"])]
    blocks = []
    for arch in archs:
        own, against = estimates[estimates["arch"] == arch], contrasts[contrasts["arch"] == arch]
        methods = metric_rows.methods(own, controls)
        gain = against[
            [str(b) == SHUFFLED + str(a) for a, b in zip(against["method"], against["against"], strict=True)]
        ]
        head = [
            *([words(LOCALIZED)] if blind else []),
            *map(_name, main),
            *([GAIN] if "faith" in set(own["metric"]) else []),
            "images",
            "groups",
            *LOST,
        ]
        lines = [
            [
                Cell(name),
                *([Cell("undefined", NO_EVIDENCE)] if blind else []),
                *_method(own, gain, name, main),
                *_counts(own[own["method"] == name]),
            ]
            for name in methods
        ]
        blocks.append(Block(f"{arch}: estimates", ["method", *head], lines))
        pairs = against[["method", "against"]].drop_duplicates().itertuples(index=False, name=None)
        compared = [[Cell(f"{a} - {b}"), *_contrasts(against, a, b, paired)] for a, b in pairs]
        blocks.append(
            Block(
                f"{arch}: paired contrasts, p adjusted by Holm",
                ["contrast", *map(_name, paired)],
                compared,
            )
        )
        if other:
            extra = [[Cell(name), *_cells(own[own["method"] == name], other)] for name in methods]
            blocks.append(Block(f"{arch}: other variants", ["method", *map(_name, other)], extra))
    lead = (_primary(contrasts, about), basis(estimates, about), COUNTED, *about["notes"])
    data = pd.concat([everything, *([_unlocalized(estimates)] if blind else []), contrasts], ignore_index=True)
    data = data.astype({name: "Int64" for name in data if str(name).startswith("n_")})
    return Sheet(f"Maps, {about['title']}", lead, tuple(blocks), data[[name for name in CSV if name in data]])


LOCALIZED = "locacc"
NO_EVIDENCE = "undefined: no evidence; the dataset has no masks, so where the truth lies is not known"
GAIN = "Faith, gain over shuffled"
COUNTED = "Undefined, degenerate and failed are counts of scores over the metrics of the line; shuffled maps count once per copy."


def _unlocalized(estimates: pd.DataFrame) -> pd.DataFrame:
    """What the CSV says of localization where there is no evidence: a line per method, and no number."""
    cells = estimates[["arch", "method"]].drop_duplicates()
    return cells.assign(metric=LOCALIZED, variant="", value=float("nan"), reason=NO_EVIDENCE)


def _primary(contrasts: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """The comparison named beforehand, in one sentence."""
    asked = about["primary"]
    own = contrasts[contrasts["primary"].astype(bool)] if "primary" in contrasts else contrasts[:0]
    own = metric_rows.of_metric(own, asked["metric"])
    what = f"{asked['method']} minus {asked['against']} in {words(asked['metric'])}"
    if own.empty:
        return f"Primary contrast, named beforehand: {what}; there is no such row."
    own = own.sort_values("arch", key=lambda names: names.map(about["architectures"].index))
    found = "; ".join(f"{row['arch']} {_signed(row)}{_p(row['p'])}" for row in own.to_dict("records"))
    better = {"higher": "above 0 is better", "lower": "below 0 is better"}.get(
        about["better"].get(asked["metric"], ""), ""
    )
    return f"Primary contrast, named beforehand: {what} is {found}{f' ({better})' if better else ''}."


def _columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Metric and variant, the paper's metrics first."""
    pairs = list(dict.fromkeys(table[["metric", "variant"]].itertuples(index=False, name=None)))
    order = {name: place for place, name in enumerate(metric_rows.SHOWN)}
    return sorted(pairs, key=lambda pair: order.get(pair[0], len(order)))


def _name(column: tuple[str, str]) -> str:
    return words(column[0]) + (f" ({column[1]})" if column[1] else "")


def _line(table: pd.DataFrame, metrics: Sequence[str], **where: str) -> list[Cell]:
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    return [one(table[table["metric"] == metric], digits=2) for metric in metrics]


def _cells(own: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> list[Cell]:
    return [one(metric_rows.of_metric(own, *column)) for column in columns]


def _method(own: pd.DataFrame, gain: pd.DataFrame, method: str, columns: Sequence[tuple[str, str]]) -> list[Cell]:
    cells = _cells(own[own["method"] == method], columns)
    if "faith" not in set(own["metric"]):
        return cells
    return [
        *cells,
        one(metric_rows.of_metric(gain[gain["method"] == method], "faith", metric_rows.primary_variant(own, "faith"))),
    ]


def _contrasts(table: pd.DataFrame, method: str, against: str, columns: Sequence[tuple[str, str]]) -> list[Cell]:
    own = table[(table["method"] == method) & (table["against"] == against)]
    cells = []
    for column in columns:
        here = metric_rows.of_metric(own, *column)
        cell = one(here, signed=True)
        cells.append(Cell(cell.text + _p(here["p_holm"].iloc[0]), cell.why) if len(here) else cell)
    return cells


def one(here: pd.DataFrame, *, digits: int = 3, signed: bool = False) -> Cell:
    """The only row of a table as a cell; no row, no number."""
    if here.empty:
        return Cell("-")
    row = here.iloc[0]
    if pd.isna(row["value"]):
        return Cell("-", str(row["reason"]))
    value, low, high = (round(float(row[name]), digits) + 0.0 for name in ("value", "low", "high"))  # no minus zero
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    ends = "" if pd.isna(row["low"]) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return Cell(text + ends, str(row["reason"]))


def _signed(row: metric_rows.Row) -> str:
    cell = one(pd.DataFrame([row]), signed=True)
    return cell.text + (f" ({cell.why})" if cell.why else "")


def _p(p: float) -> str:
    return "" if pd.isna(p) else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"


def _counts(own: pd.DataFrame) -> list[Cell]:
    return [Cell(_range(own[f"n_{what}"])) for what in ("images", "groups", *LOST)]


def _range(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{low} to {high}"


def basis(table: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """What the intervals are, and over how much."""
    table = table[table["value"].notna()]
    if table.empty:
        return "No value could be estimated."
    named = sorted(name for name in set(table["interval"]) if name)
    what = (
        f"In brackets: {100 * about['level']:g} % intervals, {' or '.join(named)}."
        if named
        else "There are no intervals."
    )
    return f"{what} {_range(table['n_groups'])} groups, {_range(table['n_images'])} images, {_range(table['n_seeds'])} seeds."


def _speed(predictions: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Milliseconds per image (median over seeds) and millions of parameters, by architecture."""
    if predictions.empty:
        return {}
    ms = 1000 * predictions.groupby("arch")["seconds"].median()
    size = (
        predictions.groupby("arch")["parameters"].first() / 1e6
        if "parameters" in predictions
        else pd.Series(dtype=float)
    )
    return {str(arch): (f"{ms[arch]:.1f}", f"{size[arch]:.2f}" if arch in size.index else "-") for arch in ms.index}
