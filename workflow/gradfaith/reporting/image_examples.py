"""Choose the images that figures show: by a rule, never by eye.

    median   the images whose score on the study's primary metric, averaged over the architectures shown, is nearest to
             the median of their class; where the metric has no value for the class (no evidence), nearest to the median
             calibrated probability of the true class
    random   drawn per class from a fixed stream

At most one image per group while there are other groups. Ties go by image id. Cost: none.
"""

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from gradfaith.config.result_settings import PrimaryContrast
from gradfaith.reporting import metric_rows
from gradfaith.rng import generator

SelectionRule = Literal["median", "random"]


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
