"""Meta-evaluation: does a metric put methods in the order that the evidence puts them in?                  [domeniconi2026]

    truth     a localization metric, which compares a map with the evidence it should show
    image     r over methods of (metric, truth) on one image of one model; then the mean over images
    cells     r over cells (method x model) of (mean of the metric, mean of the truth), in meta_cells.py

The paper draws the second; the first is free of what makes images and models differ. Both by Spearman and by Pearson, over the
methods that look into the model, over the controls, and over both together: that a metric parts methods from controls says
little of whether it can rank methods. Only images that the model gets right take part, as only there evidence is what the model
should have seen, and metric and truth read the same map; n_wrong counts the others. n_undefined: images of a model where
fewer than three methods have both numbers, or where one of the two is the same for all; over cells, the cells that no image gives
both numbers. A metric of which lower is better is negated. With `against`, also each metric's r minus that metric's, image by
image. A correlation is not a proof: the truth says where the evidence is, not that the model used all of it.

Intervals are those of every estimate: over groups, or groups and seeds, with the methods and architectures as they are. `arch` "" is
the mean over architectures, of images that all of them have (image), or all of their cells (cells). Cost: a third of a second per
metric, variant and truth for six models, 20 methods and 100 images.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.stats.by_image import ByImage, Name, side_by_side
from gradfaith.stats.cells import FOUND, intervals
from gradfaith.stats.correlation import COEFFICIENTS, FEWEST
from gradfaith.stats.intervals import HOUSE, Rule
from gradfaith.stats.meta_cells import cells

KEYS = ("view", "truth", "arch", "metric", "variant", "who", "measure")
COUNTS = ("n_methods", "n_undefined", "n_wrong")
COLUMNS = (*KEYS, *(name for name in FOUND if name != "p"), *COUNTS)
FEW = f"on no image have {FEWEST} methods both numbers, and not all the same"
MINUS = " minus "
Flags = NDArray[np.bool_]


def meta(
    scores: pd.DataFrame,
    truths: Sequence[str],
    better: Mapping[str, str],
    controls: Sequence[str],
    against: str = "",
    rule: Rule = HOUSE,
) -> pd.DataFrame:
    """One row per view, truth, architecture ("": all), metric, variant, who is ranked, and coefficient."""
    whole = side_by_side(scores, better)
    tables = [part for truth in truths for part in _of_truth(whole, whole.primary(truth), controls, against, rule)]
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def over_architectures(images: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The mean over architectures, image by image and seed by seed; of an image that one of them lacks there is none.

    Otherwise the architecture that has most images would be most of the mean, and another one for every metric.
    """
    other = [key for key in keys if key != "arch"]
    archs = images.groupby(other, sort=False, observed=True)["arch"].transform("nunique")
    cells = images.assign(archs=archs).groupby([*other, "seed", "image_id", "group"], sort=False, observed=True)
    found = cells.agg(
        value=("value", "mean"), there=("value", "count"), archs=("archs", "max"), n_methods=("n_methods", "max")
    ).reset_index()
    return found.assign(value=found["value"].where(found["there"] == found["archs"]), arch="")


def means(images: pd.DataFrame, keys: Sequence[str], reason: str, rule: Rule) -> pd.DataFrame:
    """Means over images with their intervals, and how many images had no value."""
    by = list(keys)
    lost = images.assign(n_undefined=images["value"].isna()).groupby(by, sort=False, observed=True)
    counts = lost.agg(n_undefined=("n_undefined", "sum"), n_methods=("n_methods", "max")).reset_index()
    table = counts.merge(intervals(images[images["value"].notna()], by, rule), on=by, how="left")
    whole = ["n_images", "n_groups", "n_seeds"]
    table[whole] = table[whole].fillna(0).astype(np.int64)
    return table.fillna({"seeds": "", "interval": "", "reason": reason})


def _of_truth(whole: ByImage, truth: Name, controls: Sequence[str], against: str, rule: Rule) -> Iterator[pd.DataFrame]:
    evident = np.isfinite(whole.values[truth]).any(axis=1)
    right = whole.about["correct"].fillna(False).to_numpy(bool)
    wrong = whole.about[evident & ~right].groupby("arch", observed=True).size().to_dict()
    wrong |= {"": sum(wrong.values())}  # of all architectures
    own = whole.rows(evident & right)
    for table in (_within(own, truth, controls, against, rule), _over_cells(own, truth, controls, rule)):
        yield table.assign(truth=truth[0], n_wrong=table["arch"].map(wrong).fillna(0).astype(np.int64))


def _fields(table: ByImage, controls: Sequence[str]) -> dict[str, Flags]:
    """Who is ranked -> their columns."""
    ignorant = table.ignorant(controls)
    return {"methods": ~ignorant, "controls": ignorant, "together": np.ones_like(ignorant)}


def _within(table: ByImage, truth: Name, controls: Sequence[str], against: str, rule: Rule) -> pd.DataFrame:
    frames = []
    for (who, columns), measure in product(_fields(table, controls).items(), COEFFICIENTS):
        judged = [name for name in table.values if name != truth]
        found = {name: _by_image(table, name, truth, columns, measure) for name in judged}
        other = found.get(table.primary(against)) if against else None
        for name, images in found.items():
            keys = {"view": "image", "metric": name[0], "variant": name[1], "who": who}
            frames.append(images.assign(measure=measure, **keys))
            if other is not None and name[0] != against:
                value = images["value"] - other["value"]  # by the image's place in the table
                frames.append(images.assign(value=value, measure=measure + MINUS + against, **keys))
    every = pd.concat(frames, ignore_index=True)
    by = [key for key in KEYS if key != "truth"]
    return means(pd.concat([every, over_architectures(every, by)], ignore_index=True), by, FEW, rule)


def _by_image(table: ByImage, name: Name, truth: Name, columns: Flags, measure: str) -> pd.DataFrame:
    """The coefficient on every image of a model on which the metric was asked for; NaN: it has none."""
    asked = table.asked[name][:, columns]
    value = COEFFICIENTS[measure](table.values[name][:, columns], table.values[truth][:, columns])
    return table.about.assign(value=value, n_methods=asked.sum(axis=1))[np.asarray(asked.any(axis=1))]


def _over_cells(table: ByImage, truth: Name, controls: Sequence[str], rule: Rule) -> pd.DataFrame:
    rows = []
    for arch, (who, columns) in product(["", *dict.fromkeys(table.about["arch"])], _fields(table, controls).items()):
        here = table if arch == "" else table.rows((table.about["arch"] == arch).to_numpy(bool))
        for name in here.values:
            if name != truth and here.asked[name][:, columns].any():
                keys = {"view": "cells", "arch": arch, "metric": name[0], "variant": name[1], "who": who}
                pair = here.values[name][:, columns], here.values[truth][:, columns]
                asked, names = here.asked[name][:, columns], np.array(here.methods)[columns]
                rows += [keys | row for row in cells(here.about, *pair, asked, names, rule)]
    return pd.DataFrame(rows)
