"""Which images stand for a class: chosen by a rule, never by eye.

    median   the images whose score on the study's primary metric, averaged over the architectures shown, is nearest to
             the median of their class; where the metric has no value for the class (no evidence), nearest to the median
             calibrated probability of the true class
    random   drawn per class from a fixed stream

At most one image per group while there are other groups. Ties go by image id. Cost: none.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import overlay
from gradfaith.rng import generator
from gradfaith.storage.hdf5 import Images

Choice = Literal["median", "random"]


def choose(
    predictions: pd.DataFrame,  # of the models shown, one row per model and image
    scores: pd.DataFrame,
    primary: Mapping[str, str],
    classes: Sequence[str],
    *,
    images: int,
    choice: Choice = "median",
) -> list[str]:
    """Image ids, class by class; at least one per class, and what does not divide goes to the last classes."""
    known = predictions.drop_duplicates("image_id").set_index("image_id")
    number = typicality(predictions, scores, primary, classes)
    wanted = dict.fromkeys(classes, images // len(classes))
    for name in list(classes)[len(classes) - images % len(classes) :]:
        wanted[name] += 1
    chosen: list[str] = []
    for name in classes:
        own = known[known["label"] == name]
        if choice == "random":
            order = generator("panels", name).permutation(sorted(own.index)).tolist()
        else:
            values = number.reindex(own.index).dropna()
            away = (values - values.median()).abs()
            order = away.to_frame("away").assign(image=away.index).sort_values(["away", "image"]).index.tolist()
        chosen += _apart(order, own["group"], max(1, wanted[name]))
    return chosen


def account(shown: Sequence[str], images: Images, primary: Mapping[str, str], choice: Choice) -> str:
    """How the images shown were chosen, and what the line upon them is, where one is drawn."""
    rule = {
        "median": f"nearest to their class's median {metric_rows.words(primary['metric'])}",
        "random": "drawn at random",
    }
    line = overlay.key(images.mask("evidence", shown)[0])
    return f"images {rule[choice]}, never chosen by eye. {line}".rstrip()


def typicality(
    predictions: pd.DataFrame, scores: pd.DataFrame, primary: Mapping[str, str], classes: Sequence[str]
) -> pd.Series:
    """The number an image is chosen by: its primary score, or its true class's probability where the class has none."""
    own = metric_rows.within(scores)
    own = metric_rows.of_metric(
        own[(own["method"] == primary["method"]) & own["seed"].isin(predictions["seed"])], primary["metric"]
    )
    score = own[own["status"] == "ok"].groupby("image_id")["value"].mean()
    label = predictions.drop_duplicates("image_id").set_index("image_id")["label"]
    parts = []
    for name in classes:
        images = label.index[label == name]
        with_score = score[score.index.isin(images)]
        true = predictions[predictions["label"] == name].groupby("image_id")[f"calibrated_{name}"].mean()
        parts.append(with_score if len(with_score) else true)
    numbers: pd.Series = pd.concat(parts)
    return numbers


def _apart(order: Sequence[str], group: pd.Series, wanted: int) -> list[str]:
    """The first images in order from different groups, then the rest."""
    first = list({group[image]: image for image in reversed(order)}.values())
    rank = {image: place for place, image in enumerate(order)}
    rest = [image for image in order if image not in first]
    return (sorted(first, key=rank.__getitem__) + rest)[:wanted]
