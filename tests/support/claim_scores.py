"""Scores of three networks and some methods, with predictions, for tests of claims."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from gradfaith.stats.claim_data import ClaimData, ClaimTerm, ClaimTest
from gradfaith.stats.claims import Claim, evaluate_claims
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.interval_scales import Bounds, IntervalRule
from gradfaith.storage import parquet

CLASSES = ["normal", "benign", "malignant"]
ARCHS, SEEDS, CONTROLS = ("net-a", "net-b", "net-c"), (0, 1, 2), ("random-grid", "half")
LEVEL = {"net-a": 0.0, "net-b": 0.05, "net-c": -0.1}
QUALITY = {"gradcam": 0.55, "saliency": 0.4, "layercam": 0.5, "shuffled-gradcam": 0.2, "random-grid": 0.2, "half": 0.25}
METRICS = {"saliency_score": [""], "faith": ["black", "blur"], "road": ["black"], "average_drop": ["black"]}
BETTER = dict.fromkeys(METRICS, "higher") | {"average_drop": "lower", "consist": "higher"}
BOUNDS = dict.fromkeys(("saliency_score", "road", "average_drop", "consist"), Bounds(0, 1)) | {"faith": Bounds(-1, 1)}


def answers(groups: int = 30) -> pd.DataFrame:
    """Return predictions of all models; some images of every network are wrong."""
    draw, frames = np.random.default_rng(3), []
    images = pd.DataFrame(
        [(f"i{g}-{s}", f"g{g}", CLASSES[g % 3]) for g in range(groups) for s in range(2)],
        columns=["image_id", "group", "label"],
    )
    for arch, seed in product(ARCHS, SEEDS):
        logits = draw.normal(size=(len(images), 3)) + 1.6 * np.eye(3)[images["label"].map(CLASSES.index)]
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        own = images.assign(arch=arch, seed=seed, part="test", predicted=np.array(CLASSES)[logits.argmax(axis=1)])
        for number, name in enumerate(CLASSES):
            own[f"calibrated_{name}"] = own[f"probability_{name}"] = share[:, number]
        frames.append(own.assign(correct=own["label"] == own["predicted"], seconds=0.01))
    return pd.concat(frames, ignore_index=True)


def scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return scores of every method; normal images have no evidence."""
    draw = np.random.default_rng(4)
    names = ["arch", "seed", "image_id", "group", "part", "label", "predicted", "correct"]
    kinds = [(method, metric, variant) for method in QUALITY for metric, own in METRICS.items() for variant in own]
    single = predictions[names].merge(pd.DataFrame(kinds, columns=["method", "metric", "variant"]), how="cross")
    level = single["method"].map(QUALITY) + single["arch"].map(LEVEL)
    single = single.assign(arch2="", seed2=pd.NA, value=np.clip(level + draw.normal(0, 0.12, len(single)), 0, 1))
    single.loc[(single["label"] == "normal") & (single["metric"] == "saliency_score"), "value"] = np.nan
    chance = pd.DataFrame({"variant": ["pairs", "between-images"], "level": [0.5, 0.3]})
    pairs = predictions.loc[predictions["seed"] < SEEDS[-1], names].merge(chance, how="cross")
    value = np.clip(pairs.pop("level") + draw.normal(0, 0.1, len(pairs)), 0, 1)
    pairs = pairs.assign(method="gradcam", metric="consist", arch2=pairs["arch"], seed2=pairs["seed"] + 1, value=value)
    table = pd.concat([single.astype({"seed2": "Int64"}), pairs.astype({"seed2": "Int64"})], ignore_index=True)
    status = np.where(table["value"].isna(), "undefined", "ok")
    return table.assign(copy=0, layer="", target="true", status=status, reason="").astype(dict(parquet.SCORES))


def claim_data(groups: int = 30, level: float = 0.95) -> ClaimData:
    """Return what claims are tested on."""
    predictions = answers(groups)
    table = scores(predictions)
    return ClaimData(
        scores=lambda metrics: table[table["metric"].isin(metrics)],
        predictions=predictions,
        classification=estimate_classification(predictions, CLASSES),
        better=BETTER,
        controls=CONTROLS,
        rule=IntervalRule(level, 8, BOUNDS),
    )


def claim_test(terms: Sequence[tuple[float, str, str]], **fields: Any) -> ClaimTest:
    """Return a test of weighted means (weight, architecture, method)."""
    blank = {
        "case": "net-a",
        "condition": "c",
        "quantity": "difference",
        "metric": "saliency_score",
        "variant": "first",
    }
    return ClaimTest(**{**blank, "margin": 0.0, **fields}, terms=[ClaimTerm(*term) for term in terms])


def small_claims() -> pd.DataFrame:
    """Return a claim of every verdict, and one that the study cannot test."""
    data, found = claim_data(), []
    for name, margin, over in (
        ("supported-one", 0.1, "all"),
        ("refuted-one", 0.7, "any"),
        ("undecided-one", 0.35, "most"),
    ):
        tests = [
            claim_test(
                [(1.0, arch, "gradcam"), (-1.0, arch, control)],
                case=arch,
                condition=f"gradcam minus {control}",
                margin=margin,
            )
            for arch, control in product(ARCHS, CONTROLS)
        ]
        found.append(Claim(name, f"Grad-CAM is better by {margin}", "a paper", over, tests))
    found.append(Claim("missing-one", "A sentence about IoU", "", "all", [], "the study has no metric iou"))
    return evaluate_claims(found, data)
