"""The shipped small study of FunnyBirds, from its words to the correlation of metrics with the FunnyBirds score."""

import pandas as pd
import pytest
from workspace import Workspace, plant

from gradfaith.storage.hdf5 import MapStore

pytestmark = pytest.mark.end_to_end

STUDY = "config/studies/funnybirds-small.yaml"
PARTS = ["funnybirds_completeness", "funnybirds_correctness", "funnybirds_contrastivity"]


def test_the_small_study_ranks_metrics_by_the_funnybirds_score(tmp_path_factory: pytest.TempPathFactory) -> None:
    space = Workspace(plant(tmp_path_factory.mktemp("birds")).folder, STUDY)
    space.edit(STUDY, "train: 60, test: 6", "train: 12, test: 2")
    space.edit(STUDY, "epochs: 10, batch: 32", "epochs: 6, batch: 8")
    space.snakemake("table_meta", "--cores", "2")
    with MapStore(space.results / "maps/resnet18/seed-0/maps.h5") as maps:
        roles = maps.rows.groupby("role")["image_id"].nunique()
        assert roles["contrast-1"] == roles["contrast-2"] == 12
        chosen = maps.rows.set_index(["image_id", "role"])["target"].unstack()
        assert (chosen["contrast-1"] != chosen["contrast-2"]).all()
    scores = pd.read_parquet(space.results / "scores.parquet")
    own = scores[scores["metric"].isin(["funnybirds_score", *PARTS])]
    assert set(own["variant"]) == {""}
    assert set(own["target"]) == {"true"}
    assert own.loc[own["status"] == "ok", "value"].between(0, 1).all()
    ok = own[own["status"] == "ok"].pivot(index=["method", "copy", "image_id"], columns="metric", values="value")
    complete = ok.dropna()
    assert len(complete)
    assert (complete["funnybirds_score"] - complete[PARTS].mean(axis=1)).abs().max() < 1e-9
    undefined = own[(own["metric"] == PARTS[0]) & ~own["correct"].astype(bool)]
    assert (undefined["status"] != "ok").all(), "a misclassified image has no completeness"
    meta = pd.read_parquet(space.results / "meta.parquet")
    judged = meta[(meta["view"] == "image") & (meta["truth"] == "funnybirds_score")]
    assert {"arcc", "road", "adcc", "average_drop", "cosine"} <= set(judged["metric"])
    assert "## Beside" in (space.results / "tables/meta.md").read_text()
