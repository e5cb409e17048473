"""Random scores and curves of several methods of known quality, for tests of the meta-evaluation and of curve figures."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from long_table import repeat_rows

from gradfaith.stats.meta_evaluation import evaluate_metrics
from gradfaith.storage import parquet

METHODS = {"gradcam": 0.6, "layercam": 0.5, "eigencam": 0.3, "saliency": 0.4, "refine-layercam": 0.7}
CONTROLS = {"random-grid": 0.1, "centre": 0.2, "uniform": 0.05}
QUALITY = {**METHODS, **CONTROLS, **dict.fromkeys((f"shuffled-{name}" for name in METHODS), 0.1)}
# metric -> weight of the quality in its value, noise, variants, which end is better
METRICS = {
    "saliency_score": (1.0, 0.05, ("",), "higher"),
    "cosine": (1.0, 0.1, ("",), "higher"),
    "road": (0.9, 0.1, ("noisy_linear", "black"), "higher"),
    "deletion": (-0.8, 0.15, ("noisy_linear", "black"), "lower"),
    "average_drop": (-0.2, 0.2, ("black",), "lower"),
    "border_share": (0.0, 0.1, ("",), "neither"),
}
BETTER = {name: end for name, (*_, end) in METRICS.items()}


def scores(images: pd.DataFrame, archs: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return score rows of every method on every metric; Average Drop ranks the uniform map first, as it loses nothing."""
    draw, parts, count = np.random.default_rng(4), list[dict[str, object]](), len(images)
    about = images[["image_id", "group", "label"]].assign(part="test", predicted=images["label"], copy=0, layer="")
    for (arch, seed), (method, quality) in product(product(archs, seeds), QUALITY.items()):
        own = quality + draw.normal(0, 0.1, count)
        wrong = np.random.default_rng([seed, len(arch)]).random(count) < 0.1
        for metric, (worth, noise, variants, _) in METRICS.items():
            for variant in variants:
                value = worth * own + draw.normal(0, noise, count)
                value -= (metric == "average_drop") & (method == "uniform")
                located = metric in {"saliency_score", "cosine"}
                blind = (images["label"] == "normal").to_numpy() & located
                what = {"arch": arch, "seed": seed, "arch2": "", "seed2": pd.NA, "method": method, "correct": ~wrong}
                what |= {"metric": metric, "variant": variant, "target": "true" if located else "predicted"}
                status = np.where(blind, "undefined", "ok")
                parts.append({"value": np.where(blind, np.nan, value), "status": status, "reason": "", **what})
    return repeat_rows(about, parts).astype(dict(parquet.SCORES))


def curves(images: pd.DataFrame, archs: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return curves of a falling probability: at once for a method of quality 1, evenly for one of quality 0."""
    draw, parts = np.random.default_rng(5), list[dict[str, object]]()
    about = images[["image_id", "group", "label"]].assign(
        part="test", predicted=images["label"], correct=True, layer=""
    )
    shares = np.linspace(0, 1, 11)
    for arch, seed, (method, quality) in product(archs, seeds, QUALITY.items()):
        for order, imputer, share in product(("most", "least"), ("noisy_linear", "black"), shares):
            bent = (1 - share) ** (1 + 3 * quality) if order == "most" else 1 - share ** (1 + 3 * quality)
            value = np.clip(0.1 + 0.8 * bent + draw.normal(0, 0.05, len(images)), 0, 1)
            what = {"arch": arch, "seed": seed, "method": method, "target": "predicted", "imputer": imputer}
            parts.append({"order": order, "fraction": share, "probability": value, **what})
    return repeat_rows(about, parts).astype(dict(parquet.CURVES))


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics of score rows, judged by two truths."""
    how = {"against": "road", "order_only": ["road", "deletion"]}
    return evaluate_metrics([table], ["saliency_score", "cosine"], BETTER, list(CONTROLS), **how)
