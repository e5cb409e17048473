"""Which rows of the tables figures and tables speak of, in which order methods stand, and what metrics are called.

Of a metric's variants one is primary: the first imputer of a faithfulness metric (estimates keep the study's order), all
pairs of seeds for an agreement metric, the fully random network for randomisation. Beside an agreement metric its chance
level is drawn, the same metric between different images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.metrics.maps import randomisation
from gradfaith.stats.classification import MACRO
from gradfaith.vocabulary import SHUFFLED

Row = Mapping[Any, Any]
Column = tuple[str, str]  # metric, variant
PAIRS, CHANCE = "pairs", "between-images"
BASELINES = (CHANCE, "by-area")  # variants that are no score of a method but what chance would give
PLAIN = {
    "locacc": "LocAcc", "saliency_score": "Saliency score", "iou_area_matched": "Area-matched IoU", "faith": "Faith",
    "faith_logit": "Faith (logit)", "consist": "Consist", "spearman": "Spearman", "shortcut_lift": "Shortcut lift", "f1": "F1", "auroc": "AUROC",
    "iou": "IoU", "topk_overlap": "Top-K overlap", "topk_gain": "Top-K gain", "roc_auc": "ROC AUC", "locacc_literature": "LocAcc (literature)",
    "tko_literature": "TKO (literature)", "outside_body_share": "Outside-body share",
    "average_drop_pgc": "Average drop (grad-cam)",
    "road": "ROAD", "road_pgc": "ROAD (grad-cam)", "adcc": "ADCC", "adcc_literature": "ADCC (literature)", "arcc": "ARCC",
    "arcc_literature": "ARCC (literature)", "coherency_literature": "Coherency (literature)", "max_sensitivity": "Max-sensitivity",
    randomisation.NAME: "Agreement when randomised",
}  # fmt: skip
SHOWN = ("locacc", "saliency_score", "iou_area_matched", "faith", "consist")


def words(name: str) -> str:
    """A metric's name as a reader knows it."""
    return PLAIN.get(name, name.replace("_", " ").capitalize())


def by(table: pd.DataFrame, column: str) -> dict[str, Row]:
    """The rows of a table by a column that names them."""
    return {str(row[column]): row for row in table.to_dict("records")}


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """The rows over all images and of one architecture, without those by stratum or across architectures."""
    table = within(table)
    return table[table["by"] == ""] if "by" in table else table


def within(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of one architecture: those across (with another one, with the ensemble) are of a pair."""
    return table[table["arch2"].isin([""]) | (table["arch2"] == table["arch"])] if "arch2" in table else table


def across(table: pd.DataFrame) -> pd.DataFrame:
    """The other rows, over all images."""
    return table[~table.index.isin(within(table).index) & (table["by"] == "")] if "arch2" in table else table[:0]


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the classification table that are of all classes together."""
    return table[table["class"] == MACRO]


def primary_variant(table: pd.DataFrame, metric: str) -> str:
    """The variant that stands for a metric."""
    variants = list(dict.fromkeys(table.loc[table["metric"] == metric, "variant"]))
    whole = [name for name in variants if name == PAIRS or randomisation.complete(str(name))]
    return str((whole or variants or [""])[0])


def of_metric(table: pd.DataFrame, metric: str, variant: str | None = None) -> pd.DataFrame:
    """A metric's rows, of its primary variant unless told."""
    wanted = primary_variant(table, metric) if variant is None else variant
    return table[(table["metric"] == metric) & (table["variant"] == wanted)]


def present(table: pd.DataFrame, metrics: Sequence[str] = (), primary: str = "") -> list[str]:
    """The metrics asked for that the table has; nothing asked: the study's primary one if it is another, those of the paper
    and their companions, or else the first that it has.
    """
    there = [metric for metric in ordered(table) if metric != randomisation.NAME]
    asked = metrics or (SHOWN if primary in {"", *SHOWN} else (primary, *SHOWN))
    found = [metric for metric in asked if metric in there]
    return found if found or metrics else there[: len(SHOWN)]


def ordered(table: pd.DataFrame) -> list[str]:
    """The table's metrics, those of the paper and their companions first."""
    place = {name: number for number, name in enumerate(SHOWN)}
    return sorted(dict.fromkeys(table["metric"]), key=lambda name: place.get(name, len(place)))


def judged(table: pd.DataFrame, truth: str, primary: bool = True) -> list[Column]:
    """The metrics of a meta-evaluation by how they rank methods within an image, those without a number last; or their other variants."""
    own = table[(table["view"] == "image") & (table["arch"] == "") & (table["truth"] == truth)]
    own = own[(own["who"] == "methods") & (own["measure"] == "spearman")].sort_values("value", ascending=False)
    every: list[Column] = [*zip(table["metric"], table["variant"], strict=True)]
    first = dict(reversed(every))
    order = dict.fromkeys([*zip(own["metric"], own["variant"], strict=True), *every])
    return [(metric, variant) for metric, variant in order if (first[metric] == variant) == primary]


def is_control(method: str, controls: Sequence[str]) -> bool:
    return method in controls or method.startswith(SHUFFLED)


def methods(table: pd.DataFrame, controls: Sequence[str]) -> list[str]:
    """Every method of a table: those that know the model, each before its own shuffles, then the controls and theirs."""
    names = list(dict.fromkeys(table["method"]))
    knowing = [name for name in names if not is_control(name, controls)]
    ignorant = [name for name in controls if name in names]
    ordered = [twin for name in (*knowing, *ignorant) for twin in (name, SHUFFLED + name) if twin in names]
    return ordered + [name for name in names if name not in ordered]
