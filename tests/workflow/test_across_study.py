"""Agreement across architectures, from the study's words to the table; and what it makes stale."""

import pandas as pd
import pytest
from workspace import Workspace

from gradfaith.stats.estimates import ESTIMATE_KEYS

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

AFTER = {"merge_scores": 1, "estimate": 1, "verdict": 1, "provenance": 1}


def test_architectures_and_the_ensemble_are_compared_without_any_model_job(spoilable: Workspace):
    spoilable.edit(
        "tiny.yaml", "agreement: [consist]", "agreement: [consist]\nacross: [architectures, ensemble, localization]"
    )
    planned = spoilable.planned()
    assert planned.pop("figure") >= 3
    assert planned == {"across": 1, "table": 7, **AFTER}
    spoilable.snakemake("table_across", "table_pairs")
    results = spoilable.folder / "results/tiny"
    found = pd.read_parquet(results / "scores/across.parquet")
    localized = found[found["variant"].str.startswith("common-grid")]
    assert set(localized["arch"]) == {"net-a", "net-b"}
    assert localized["correct"].notna().all()
    found = found[~found.index.isin(localized.index)]
    assert set(found["arch2"]) == {"net-b", "ensemble"}
    assert set(found["variant"]) == {"architectures", "ensemble", "between-images"}
    pairs = found[found["variant"] == "architectures"]
    assert set(zip(pairs["seed"], pairs["seed2"], strict=True)) == {(0, 0), (1, 1)}
    assert not found.duplicated([*ESTIMATE_KEYS, "seed", "image_id"]).any()
    cells = pd.read_parquet(results / "estimates.parquet").query("arch2 == 'net-b' and by == ''")
    assert set(cells["seeds"]) == {"0 1"}
    assert {"gradcam", "shuffled-gradcam", "centre"} <= set(cells["method"])
    text = (results / "tables/across.md").read_text()
    assert all(f"## {pair}" in text for pair in ("net-a and net-b", "net-b and the mean of all others"))
    assert "net-b" not in text.split("## net-a and the mean of all others")[1].split("## ")[0]
    assert "## LocAcc (common grid)" in text
    assert "gradcam: net-a minus net-b | LocAcc (common grid)" in (results / "tables/pairs.md").read_text()

    spoilable.edit(
        "tiny.yaml", "  net-b:", "  net-c: {timm: test_resnet.r160_in1k, options: {output_stride: 16}}\n  net-b:"
    )
    planned = spoilable.planned()
    assert planned["across"] == 1
    assert planned["agreement"] == 1, "the new architecture's own seeds"
    assert {rule: planned[rule] for rule in ("train", "explain", "localization")} == {
        "train": 2,
        "explain": 4,
        "localization": 2,
    }
