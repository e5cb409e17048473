"""A private dataset is refused where its names are needed, or would be written down."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid

CARD = {
    "title": "mine", "reader": "folder", "raw": "raw", "classes": ["normal", "benign", "malignant"], "evidence": "mask",
    "options": {"one_image_per_patient": True}, "licence": "mine", "private": True,
}  # fmt: skip


def plan(tiny: dict[str, Any], root: Path, **changes: Any) -> Plan:
    folder = root / "config/datasets"
    folder.mkdir(parents=True, exist_ok=True)
    card = {key: value for key, value in (CARD | changes).items() if value is not None}
    (folder / "mine.yaml").write_text(yaml.safe_dump(card))
    return Plan.read(tiny | {"dataset": {"name": "mine"}}, root)


def test_a_private_dataset_is_planned_and_its_privacy_is_among_the_params(tiny: dict[str, Any], tmp_path: Path) -> None:
    assert RuleParams(plan(tiny, tmp_path)).data_settings.private
    assert not RuleParams(plan(tiny, tmp_path, private=False)).data_settings.private


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": "release.tsv"}, "files: it compares the files with a release by their names"),
        ({"groups": {"cues": ["order"]}}, "groups.cues: order is read off the numbers in names"),
        ({"groups": {"cues": ["couch"], "must_links": "links.tsv"}}, "groups.must_links: it names pairs of files"),
        ({"options": {"masks": "elsewhere"}}, "options.masks: errors would show the names in that folder"),
        ({"raw": None, "sources": [{"local": "zip"}]}, "sources: the record of fetched files names every file"),
    ],
)
def test_what_needs_names_is_refused_only_where_they_are_hidden(
    tiny: dict[str, Any], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyInvalid, match="and the dataset is private") as refusal:
        plan(tiny, tmp_path, **changes)
    assert said in refusal.value.problem
    plan(tiny, tmp_path, **changes, private=False)
