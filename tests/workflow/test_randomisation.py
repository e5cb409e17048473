"""The sanity check through Snakemake: its cells, its scores, its figure, and what makes them stale."""

import pandas as pd
import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

MODELS, IMAGES, VARIANTS = 4, 4, {"top_down 1/1", "bottom_up 1/1"}
TARGET = "figure_randomisation"


def test_the_check_adds_its_cells_scores_and_figure_to_a_finished_study(spoilable: Workspace):
    spoilable.edit("tiny.yaml", "figures: [", "figures: [randomisation, ")
    with (spoilable.folder / "tiny.yaml").open("a") as file:
        file.write("randomisation: {steps: 1, max_images: 4}\n")
    assert spoilable.planned(TARGET) == {"randomise": MODELS, "merge_scores": 1, "estimate": 1, "figure": 1}
    spoilable.snakemake(TARGET)

    results = spoilable.folder / "results/tiny"
    scores = pd.read_parquet(results / "scores.parquet").query("metric == 'randomisation'")
    assert len(scores) == MODELS * IMAGES * len(VARIANTS)
    assert set(scores["variant"]) == VARIANTS
    assert set(scores["method"]) == {"gradcam"}, "controls and shuffled copies are not asked"
    assert (scores["status"] == "ok").any()
    estimates = pd.read_parquet(results / "estimates.parquet").query("metric == 'randomisation' and by == ''")
    assert len(estimates) == 2 * len(VARIANTS)
    assert estimates["low"].notna().any()
    assert "randomisation" not in set(pd.read_parquet(results / "contrasts.parquet")["metric"])
    drawn = (results / "figures/randomisation.svg").read_text()
    assert "from the image up" in drawn

    spoilable.edit("workflow/gradfaith/reporting/figures/randomisation.py", "SPREAD = 0.4", "SPREAD = 0.3")
    assert spoilable.planned(TARGET) == {"figure": 1}
    spoilable.edit("tiny.yaml", "steps: 1,", "steps: 2,")
    assert spoilable.planned(TARGET) == {"randomise": MODELS, "merge_scores": 1, "estimate": 1, "figure": 1}
