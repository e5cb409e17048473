"""Explaining again, and composites, through Snakemake: their cells, their scores, and what makes them stale."""

import numpy as np
import pandas as pd
import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

BUNDLES, GRADFAITH = 2, "workflow/gradfaith"
SCORES = "results/tiny/scores.parquet"
BATTERIES = """masking: {metrics: [faith, faith_logit, complexity, average_drop], imputers: [black, mean]}
  rerun: {metrics: {coherency: {}, max_sensitivity: {options: {draws: 1}}, randomisation_sensitivity: {}}, imputers: [black]}
composite: [adcc]
"""


def test_the_battery_and_the_composite_add_their_scores_and_go_stale_with_the_methods(spoilable: Workspace):
    spoilable.edit("tiny.yaml", "  net-b: {timm: test_vit.r160_in1k, options: {img_size: 64, patch_size: 8}}\n", "")
    spoilable.edit("tiny.yaml", "seeds: [0, 1]", "seeds: [0]")  # one model is enough
    spoilable.edit("tiny.yaml", "agreement: [consist]\n", "")
    spoilable.edit("tiny.yaml", "masking: {metrics: [faith, faith_logit], imputers: [black, mean]}\n", BATTERIES)
    assert spoilable.planned(SCORES) == {"faithfulness": 2 * BUNDLES, "merge_scores": 1}
    spoilable.snakemake("results/tiny/estimates.parquet")

    scores = pd.read_parquet(spoilable.folder / SCORES)
    variants = {"coherency": {"black"}, "max_sensitivity": {""}, "randomisation_sensitivity": {""}, "adcc": {"black"}}
    keys, wide = ["arch", "seed", "method", "copy", "image_id"], {}
    for metric, own in variants.items():
        table = scores[scores["metric"] == metric]
        assert set(table["variant"]) == own
        assert len(table) == len(scores[(scores["metric"] == "faith") & (scores["variant"] == "black")])
        assert (table["status"] == "ok").any()
        wide[metric] = table.set_index(keys)
    adcc, parts = wide["adcc"], scores[scores["variant"] == "black"].pivot(index=keys, columns="metric", values="value")
    terms = np.stack([parts["coherency"], 1 - parts["complexity"], 1 - parts["average_drop"]])
    expected = pd.Series(3 / (1 / terms).sum(axis=0), index=parts.index).loc[adcc.index]
    ok = (adcc["status"] == "ok").to_numpy()
    np.testing.assert_allclose(adcc["value"][ok], expected[ok], rtol=1e-9)
    assert adcc["reason"][~ok].str.contains("coherency: |average_drop: |complexity: ").all()
    controls = wide["coherency"].xs("centre", level="method")
    assert (controls["value"][controls["status"] == "ok"] == 1).all(), "a control repeats itself"
    estimates = pd.read_parquet(spoilable.folder / "results/tiny/estimates.parquet")
    assert {"adcc", "coherency"} <= set(estimates["metric"])
    log = next((spoilable.folder / "results/tiny/logs/faithfulness").glob("**/cams.rerun.log")).read_text()
    assert "images explained again, " in log

    assert spoilable.planned(SCORES) == {}
    spoilable.edit(f"{GRADFAITH}/metrics/composite/adcc.py", "\nfrom ", "\nEXTRA = 1\nfrom ")
    assert spoilable.planned(SCORES) == {"merge_scores": 1}
    spoilable.edit(f"{GRADFAITH}/metrics/faithfulness/coherency.py", "import torch\n", "import torch\n\nEXTRA = 1\n")
    assert spoilable.planned(SCORES) == {"faithfulness": BUNDLES, "merge_scores": 1}
    spoilable.edit(f"{GRADFAITH}/attribution/methods/gradcam.py", ".relu()", ".relu().mul(2.0)")
    cell = "results/tiny/scores/faithfulness/net-a/seed-0/cams.rerun.parquet"
    assert spoilable.planned(cell) == {"explain": 1, "faithfulness": 1}
