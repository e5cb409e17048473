"""Files of another seed, architecture or bundle, put in place of the right ones, are refused by the rule that reads them."""

import shutil
from pathlib import Path

import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

SWAPS = [
    ("maps/net-a/seed-1/cams.h5", "maps/net-a/seed-0/cams.h5", "localization"),
    ("predictions/net-b/seed-0.parquet", "predictions/net-a/seed-0.parquet", "explain"),
    ("scores/localization/net-a/seed-1.parquet", "scores/localization/net-a/seed-0.parquet", "merge_scores"),
    ("models/net-a/seed-1/card.json", "models/net-a/seed-0/card.json", "predict"),
]


@pytest.mark.parametrize(("source", "place", "rule"), SWAPS, ids=[rule for *_, rule in SWAPS])
def test_a_foreign_file_is_refused_by_the_rule_that_reads_it(
    spoilable: Workspace, source: str, place: str, rule: str
) -> None:
    shutil.copy2(spoilable.results / source, spoilable.results / place)
    done = spoilable.snakemake("--forcerun", rule, "--until", rule, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "ForeignFile: " + str(Path("results/tiny") / place) in text, text[-3000:]
