"""Select and order the rows that figures and tables show, and give metrics the names that readers know.

Of a metric's variants one is primary: the first imputer of a faithfulness metric (estimates keep the study's
order), all pairs of seeds for an agreement metric, the fully random network for randomisation. The chance
level of an agreement metric is another variant: the same metric between different images.

A study gives metrics its own labels. The plug-in of a label decides what is shown, and in which order. `metrics`:
label -> name of the plug-in. A label that is not the plug-in's name is shown unchanged.

Tables are those of stats/: estimates, contrasts, ranks, classification, meta (columns: storage/parquet.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith import vocabulary
from gradfaith.metrics.maps import rank_correlation
from gradfaith.stats.estimates import MetricVariant
from gradfaith.vocabulary import ALL_CLASSES, BETWEEN_IMAGES, BY_AREA, COMMON_GRID, SEED_PAIRS, SHUFFLED

TableRow = Mapping[Any, Any]
DISPLAY_NAMES = {
    "locacc": "LocAcc", "saliency_score": "Saliency score", "iou_area_matched": "Area-matched IoU", "faith": "Faith",
    "faith_logit": "Faith (logit)", "faith_calibrated": "Faith (calibrated)", "faith_area_matched": "Area-matched Faith",
    "consist": "Consist", "spearman": "Spearman", "shortcut_lift": "Shortcut lift", "f1": "F1", "auroc": "AUROC", "truth_auc": "Truth AUC",
    "iou": "IoU", "topk_overlap": "Top-K overlap", "topk_gain": "Top-K gain", "roc_auc": "ROC AUC", "locacc_literature": "LocAcc (literature)",
    "tko_literature": "TKO (literature)", "outside_body_share": "Outside-body share",
    "average_drop_pgc": "Average drop (grad-cam)",
    "road": "ROAD", "road_pgc": "ROAD (grad-cam)", "adcc": "ADCC", "adcc_literature": "ADCC (literature)", "arcc": "ARCC",
    "funnybirds_score": "FunnyBirds score", "funnybirds_completeness": "FunnyBirds completeness",
    "funnybirds_correctness": "FunnyBirds correctness", "funnybirds_contrastivity": "FunnyBirds contrastivity",
    "arcc_literature": "ARCC (literature)", "coherency_literature": "Coherency (literature)", "max_sensitivity": "Max-sensitivity",
    vocabulary.RANDOMISATION: "Agreement when randomised",
}  # fmt: skip
VARIANT_WORDS = {
    SEED_PAIRS: "pairs of seeds", BETWEEN_IMAGES: "chance: different images", BY_AREA: "chance: by area",
    COMMON_GRID: "common grid",
}  # fmt: skip
BESIDE_FAITH = ("faith_calibrated", "faith_logit", "complexity", "faith_area_matched")  # what Faith is read with
DEFAULT_METRICS = ("locacc", "saliency_score", "iou_area_matched", "faith", "consist")


def display_name(name: str) -> str:
    """Return the name of a metric's plug-in, or of a rate of classification, as readers know it."""
    return DISPLAY_NAMES.get(name, name.replace("_", " ").capitalize())


def display_label(label: str, metrics: Mapping[str, str]) -> str:
    """Return a metric's label as readers know it: the display name if it is the plug-in's name, else the label itself."""
    return display_name(label) if metrics.get(label, label) == label else label


def display_column(column: MetricVariant, metrics: Mapping[str, str]) -> str:
    """Return a metric's label as readers know it, with its variant."""
    label, variant = column
    return display_label(label, metrics) + (f" ({VARIANT_WORDS.get(variant, variant)})" if variant else "")


def labels_of_plugin(name: str, labels: Sequence[str], metrics: Mapping[str, str]) -> list[str]:
    """Return those of some labels that use a plug-in."""
    return [label for label in labels if metrics.get(label, label) == name]


def rows_by_metric(
    names: Iterable[str], estimates: pd.DataFrame, metrics: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """Return label -> rows over all images, for the metrics that use these plug-ins, in the order of the plug-ins."""
    rows = rows_over_all_images(estimates)
    known = list(dict.fromkeys(rows["metric"]))
    shown = [label for name in names for label in labels_of_plugin(name, known, metrics)]
    return {metric: rows_of_metric(rows, metric) for metric in shown}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as mappings from column to value."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def index_rows(table: pd.DataFrame, column: str) -> dict[str, TableRow]:
    """Return the rows of a table by their value in a column; of equal values the last row."""
    return {str(row[column]): row for row in table.to_dict("records")}


def rows_over_all_images(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows over all images and of one architecture: none of a stratum, none that compare architectures."""
    table = rows_of_single_architectures(table)
    return table[table["by"] == ""] if "by" in table else table


def rows_of_single_architectures(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one architecture, without those that compare it with another one or with the ensemble."""
    if "arch2" not in table:
        return table
    arch, arch2 = (
        table[name].astype("str") for name in ("arch", "arch2")
    )  # categories of two columns cannot be compared
    return table[(arch2 == "") | (arch2 == arch)]


def rows_across_architectures(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, over all images, that compare an architecture with another one or with the ensemble."""
    return (
        table[~table.index.isin(rows_of_single_architectures(table).index) & (table["by"] == "")]
        if "arch2" in table
        else table[:0]
    )


def macro_average_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the classification table that are averages over all classes."""
    return table[table["class"] == ALL_CLASSES]


def primary_variant(table: pd.DataFrame, metric: str) -> str:
    """Return the primary variant of a metric; "" if the table does not have the metric."""
    variants = list(dict.fromkeys(table.loc[table["metric"] == metric, "variant"]))
    preferred = [name for name in variants if name == SEED_PAIRS or rank_correlation.is_fully_randomised(str(name))]
    return str((preferred or variants or [""])[0])


def rows_of_metric(table: pd.DataFrame, metric: str, variant: str | None = None) -> pd.DataFrame:
    """Return a metric's rows, of its primary variant unless `variant` is given."""
    wanted = primary_variant(table, metric) if variant is None else variant
    return table[(table["metric"] == metric) & (table["variant"] == wanted)]


def metrics_to_show(
    table: pd.DataFrame,
    metrics: Mapping[str, str],
    *,
    wanted: Sequence[str] = (),
    primary: str = "",
    plugins: Sequence[str] = DEFAULT_METRICS,
) -> list[str]:
    """Return the labels in `wanted` that the table has.

    Without any in `wanted`: the study's primary metric and those of `plugins`, or else the first that the table has.
    """
    available = [label for label in metrics_in_display_order(table, metrics) if label != vocabulary.RANDOMISATION]
    if wanted:
        return [label for label in wanted if label in available]
    found = [label for name in plugins for label in labels_of_plugin(name, available, metrics)]
    first = [primary] if primary in available and primary not in found else []
    return first + found if found or first else available[: len(DEFAULT_METRICS)]


def metrics_in_display_order(table: pd.DataFrame, metrics: Mapping[str, str]) -> list[str]:
    """Return the labels of the table's metrics, those of DEFAULT_METRICS first."""
    place = {name: number for number, name in enumerate(DEFAULT_METRICS)}
    return sorted(dict.fromkeys(table["metric"]), key=lambda label: place.get(metrics.get(label, label), len(place)))


def metrics_by_rank_agreement(table: pd.DataFrame, truth: str, primary: bool = True) -> list[MetricVariant]:
    """Return the metrics of a meta-evaluation, best first by how they rank methods within an image beside `truth`.

    Metrics without a correlation come last. `primary`: each metric's first variant, or else all its other variants.
    """
    rows = table[(table["view"] == "image") & (table["arch"] == "") & (table["truth"] == truth)]
    rows = rows[(rows["who"] == "methods") & (rows["measure"] == "spearman")].sort_values("value", ascending=False)
    every: list[MetricVariant] = [*zip(table["metric"], table["variant"], strict=True)]
    first_variant = dict(reversed(every))
    order = dict.fromkeys([*zip(rows["metric"], rows["variant"], strict=True), *every])
    return [(metric, variant) for metric, variant in order if (first_variant[metric] == variant) == primary]


def is_control(method: str, controls: Sequence[str]) -> bool:
    """Return whether a method is a control; the shuffled maps of any method are one."""
    return method in controls or method.startswith(SHUFFLED)


def methods_in_display_order(table: pd.DataFrame, controls: Sequence[str]) -> list[str]:
    """Return every method of a table: first those that use the model, then the controls; each before its shuffled maps."""
    names = list(dict.fromkeys(table["method"]))
    methods = [name for name in names if not is_control(name, controls)]
    present_controls = [name for name in controls if name in names]
    pairs = [pair for name in (*methods, *present_controls) for pair in (name, SHUFFLED + name) if pair in names]
    return pairs + [name for name in names if name not in pairs]


def intervals_phrase(rows: pd.DataFrame, level: float, noun: str = "group") -> str:
    """Return what the intervals of some rows cover: "95 % intervals over 48 patients and 3 seeds".

    `noun`: the word for one group.
    """
    known = rows[rows["low"].notna()]
    if known.empty:
        return "no intervals"
    over, seeds = count_phrase(known["n_groups"], noun), known[known["interval"].str.contains("seeds")]
    if len(seeds):
        over += (" and " if len(seeds) == len(known) else ", some also over ") + count_phrase(seeds["n_seeds"], "seed")
    elif (known["n_seeds"] > 1).any():
        over += ", for these models"
    return f"{100 * level:g} % intervals over {over}"


def contrasts_with_controls(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Return the contrasts of a method with a control, or with its own shuffled maps."""
    return contrasts[contrasts["comparison"] == vocabulary.CONTROL_COMPARISON]


CANNOT_BE_WON = "not tested: its opponent has the best possible value on every image"


def with_family_intervals(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Return contrasts whose interval and p-value are those of their family, which hold for all of its contrasts at once."""
    if contrasts.empty:
        return contrasts
    without = contrasts["low"].notna() & contrasts["low_family"].isna()
    family = {name: contrasts[f"{name}_family"] for name in ("low", "high", "p")}
    return contrasts.assign(**family, reason=contrasts["reason"].mask(without, CANNOT_BE_WON))


def count_phrase(numbers: pd.Series, noun: str) -> str:
    """Return a count with its noun, or the lowest and the highest of several: "24 to 48 patients"."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low if low == high else f'{low} to {high}'} {noun}{'' if high == 1 else 's'}"


def group_noun(manifest: pd.DataFrame) -> str:
    """Return what the groups are, in the singular: such as "patient" if the manifest states patients."""
    kinds = set(manifest.get("group_kind", ()))
    kind = str(kinds.pop()) if len(kinds) == 1 else "group"
    return "inferred group" if kind == "inferred" else kind
