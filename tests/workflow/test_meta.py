"""Metrics judged through Snakemake: from the study's words to table and figure, and what makes them stale."""

import pandas as pd
import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

TARGETS = ("table_meta", "figure_meta", "figure_curves")


def test_metrics_are_judged_from_scores_alone(spoilable: Workspace):
    spoilable.edit("tiny.yaml", "methods: [gradcam]", "methods: [gradcam, layercam, eigencam]")
    spoilable.edit("tiny.yaml", "  masking:", "  ranking: {metrics: [road, deletion], imputers: [black]}\n  masking:")
    spoilable.edit("tiny.yaml", "figures: [", "meta: {against: road}\nfigures: [meta, curves, ")
    spoilable.snakemake(*TARGETS)
    results = spoilable.folder / "results/tiny"
    found = pd.read_parquet(results / "meta.parquet")
    assert set(found["view"]) == {"image", "cells", "controls"}
    assert set(found["arch"]) == {"", "net-a", "net-b"}
    own = found[(found["view"] == "image") & (found["who"] == "methods") & (found["measure"] == "spearman")]
    assert {"road", "deletion", "faith", "locacc"} == set(own["metric"]) - {"iou_area_matched", "faith_logit"}
    assert own["value"].dropna().between(-1, 1).all()
    assert (own["n_methods"] == 3).all()
    assert set(found.loc[found["order_only"], "metric"]) == {"road", "deletion", "iou_area_matched"}
    text = (results / "tables/meta.md").read_text()
    assert "## Beside Saliency score, within an image" in text
    assert (results / "figures/curves.svg").read_text().count("the most relevant first") == 2

    assert spoilable.planned(*TARGETS) == {}
    spoilable.edit("workflow/gradfaith/stats/meta_evaluation.py", "(1 + np.sign", "(1.0 + np.sign")
    assert spoilable.planned(*TARGETS) == {"meta": 1, "table": 1, "figure": 1}
    spoilable.edit("workflow/gradfaith/stats/meta_evaluation.py", "(1.0 + np.sign", "(1 + np.sign")
    spoilable.edit("tiny.yaml", "meta: {against: road}", "meta: {truth: [iou_area_matched]}")
    assert spoilable.planned(*TARGETS) == {"meta": 1, "table": 1, "figure": 1}
