"""Claims through Snakemake: from the study's words to table and figure, and what makes them stale."""

import pandas as pd
import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

TARGETS = ("table_claims", "figure_claims")
CLAIMS = """claims:
  vit-localizes-better:
  iou-is-high: {says: Grad-CAM finds the lesion, metric: iou, method: gradcam, margin: 0.5}
  mine:
    says: Grad-CAM shows the lesion better than noise
    metric: saliency_score
    method: gradcam
    against: random-grid
    margin: -0.9
figures: [claims, """


def test_claims_are_tested_from_scores_alone(spoilable: Workspace) -> None:
    spoilable.edit("tiny.yaml", "figures: [", CLAIMS)
    spoilable.snakemake(*TARGETS)
    results = spoilable.folder / "results/tiny"
    found = pd.read_parquet(results / "claims.parquet")
    verdicts = found.drop_duplicates("claim").set_index("claim")["verdict"].to_dict()
    assert verdicts["mine"] == "supported", "a difference of shares is hardly below -0.9"
    assert verdicts["iou-is-high"] == "not testable"
    assert set(found.loc[found["claim"] == "vit-localizes-better", "case"]) == {"net-b minus net-a"}
    text = (results / "tables/claims.md").read_text()
    assert "| mine | Grad-CAM shows the lesion better than noise |" in text
    assert "the study has no metric iou" in text
    assert "not testable: the study has no metric iou" in (results / "figures/claims.svg").read_text()

    assert spoilable.planned(*TARGETS) == {}
    spoilable.edit("workflow/gradfaith/stats/claims.py", "1 - rule.level", "1.0 - rule.level")
    assert spoilable.planned(*TARGETS) == {"claims": 1, "table": 1, "figure": 1}
    spoilable.edit("workflow/gradfaith/stats/claims.py", "1.0 - rule.level", "1 - rule.level")
    spoilable.edit("tiny.yaml", "margin: -0.9", "margin: -0.8")
    assert spoilable.planned(*TARGETS) == {"claims": 1, "table": 1, "figure": 1}
    spoilable.edit("tiny.yaml", "margin: -0.8", "margin: -0.9")
    spoilable.edit(
        "workflow/gradfaith/reporting/tables/claims.py", "import pandas as pd", "import pandas as pd\n\nEXTRA = 1"
    )
    assert spoilable.planned(*TARGETS) == {"table": 1}
