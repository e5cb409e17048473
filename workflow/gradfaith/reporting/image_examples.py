"""Choose the images that figures show: by a rule, never by eye.

    median   the images whose score on the study's primary metric, averaged over the architectures shown, is nearest to
             the median of their class; where the metric has no value for the class (no evidence), nearest to the median
             calibrated probability of the true class
    random   drawn per class from a fixed stream

At most one image per group while there are other groups. Ties go by image id. Cost: none. Of a table, figures show the explained
row with the highest, the median or the lowest answer of the first seed's model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.config.result_settings import PrimaryContrast
from gradfaith.data.tabular.columns import FEATURE
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures.contract import FigureInputs
from gradfaith.rng import generator

SelectionRule = Literal["median", "random"]
RowPlace = Literal["highest", "median", "lowest"]  # of an explained row's answer


def choose_images(
    predictions: pd.DataFrame,  # of the models shown, one row per model and image
    scores: pd.DataFrame,
    primary: PrimaryContrast,
    classes: Sequence[str],
    *,
    count: int,
    choice: SelectionRule = "median",
) -> list[str]:
    """Return `count` image ids, class by class: at least one per class; the remainder goes to the last classes.

    `primary`: the study's primary metric and method. `predictions` has columns label, group and calibrated_<class>.
    """
    known = predictions.drop_duplicates("image_id").set_index("image_id")
    typicality = typicality_values(predictions, scores, primary, classes)
    wanted = dict.fromkeys(classes, count // len(classes))
    for name in list(classes)[len(classes) - count % len(classes) :]:
        wanted[name] += 1
    chosen: list[str] = []
    for name in classes:
        own = known[known["label"] == name]
        if choice == "random":
            order = generator("panels", name).permutation(sorted(own.index)).tolist()
        else:
            values = typicality.reindex(own.index).dropna()
            distance = (values - values.median()).abs()
            frame = distance.to_frame("distance").assign(image=distance.index)
            order = frame.sort_values(["distance", "image"]).index.tolist()
        chosen += _prefer_distinct_groups(order, own["group"], max(1, wanted[name]))
    return chosen


def typicality_values(
    predictions: pd.DataFrame, scores: pd.DataFrame, primary: PrimaryContrast, classes: Sequence[str]
) -> pd.Series:
    """Return the number that an image is chosen by, by image id.

    This is its score on the primary metric, or the calibrated probability of its true class if the class has no scores.
    """
    scores = metric_rows.rows_of_single_architectures(scores)
    rows = metric_rows.rows_of_metric(
        scores[(scores["method"] == primary.method) & scores["seed"].isin(predictions["seed"])], primary.metric
    )
    score = rows[rows["status"] == "ok"].astype({"image_id": "str"}).groupby("image_id")["value"].mean()
    label = predictions.drop_duplicates("image_id").set_index("image_id")["label"]
    parts = []
    for name in classes:
        images = label.index[label == name]
        with_score = score[score.index.isin(images)]
        true = predictions[predictions["label"] == name].groupby("image_id")[f"calibrated_{name}"].mean()
        parts.append(with_score if len(with_score) else true)
    numbers: pd.Series = pd.concat(parts)
    return numbers


def _prefer_distinct_groups(order: Sequence[str], group: pd.Series, wanted: int) -> list[str]:
    """Return the first images in order that are of different groups, then the others, `wanted` in all."""
    first_of_groups = list({group[image]: image for image in reversed(order)}.values())
    rank = {image: place for place, image in enumerate(order)}
    rest = [image for image in order if image not in first_of_groups]
    return (sorted(first_of_groups, key=rank.__getitem__) + rest)[:wanted]


@dataclass(frozen=True)
class ExplainedRow:
    """One row of a table on one model, with the attribution of one method."""

    arch: str
    image_id: str
    features: list[str]
    values: list[str]  # as a reader knows them: a category's name, a number
    attribution: NDArray[np.float64]
    answer: float
    base: float  # the mean answer over the background


def first_runs(inputs: FigureInputs, arch: str, method: str) -> pd.DataFrame:
    """Return the first run of a method on the first model of an architecture, a row per explained row."""
    table = inputs.tables["attributions"]
    own = table[(table["arch"] == arch) & (table["method"] == method) & (table["repeat"] == 0) & (table["copy"] == 0)]
    return own[own["seed"] == min(inputs.seeds)].set_index("image_id") if len(own) else own.set_index("image_id")


def feature_names(table: pd.DataFrame) -> list[str]:
    """Return the features of a table of attributions or rows, in order."""
    return [name.removeprefix(FEATURE) for name in map(str, table) if name.startswith(FEATURE)]


def explained_row(inputs: FigureInputs, arch: str, method: str, place: RowPlace) -> ExplainedRow | None:
    """Return the explained row with the highest, the median or the lowest answer; None if the method has none on the model."""
    runs = first_runs(inputs, arch, method)
    if runs.empty:
        return None
    order = runs["answer"].sort_values(kind="stable").index
    name = str(order[{"lowest": 0, "median": len(order) // 2, "highest": -1}[place]])
    features = feature_names(runs)
    columns = [FEATURE + feature for feature in features]
    row = inputs.tables["table"].set_index("image_id").loc[name, columns].to_numpy(np.float64)
    numbers, known = (runs.loc[name, chosen].to_numpy(np.float64) for chosen in (columns, ["answer", "base"]))
    values = [value_text(inputs, feature, value) for feature, value in zip(features, row, strict=True)]
    return ExplainedRow(arch, name, features, values, numbers, float(known[0]), float(known[1]))


def value_text(inputs: FigureInputs, feature: str, value: float) -> str:
    """Return a feature's value as a reader knows it."""
    found: Any = next(column for column in inputs.audit["columns"] if column["name"] == feature)
    return str(found["categories"][int(value)]) if found["categories"] else f"{value:.6g}"


def answer_name(inputs: FigureInputs) -> str:
    """Return what is explained, for axes and notes."""
    positive = inputs.audit["positive"]
    return f"score of {positive}" if positive else "predicted value"
