"""`randomisation:` in a study: which cells it adds, what decides them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from refused import put

from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid

ASKED = {"steps": 2, "max_images": 4}


def slices(document: dict[str, Any], root: Path) -> dict[str, str]:
    of = RuleParams(Plan.read(document, root))
    found = {
        "randomise": of.randomise("net-a", "cams"), "cams": of.explain("net-a", "cams"), "model": of.train("net-a"),
        "masking": of.faithfulness("net-a", "cams", "masking"), "localization": of.localization(), "estimate": of.estimate(),
    }  # fmt: skip
    return {name: json.dumps(value, sort_keys=True) for name, value in found.items()}


def test_without_the_key_there_is_no_such_table(tiny: dict[str, Any], root: Path) -> None:
    plan = Plan.read(tiny, root)
    assert plan.randomised_bundles == []
    assert not [path for path in plan.score_tables() if "randomisation" in path]
    assert "randomisation" not in RuleParams(plan).estimate()["better"]


def test_every_bundle_but_the_controls_is_asked_unless_some_are_named(tiny: dict[str, Any], root: Path) -> None:
    tiny["bundles"]["late"] = {"methods": {"deep": {"use": "gradcam"}}}
    plan = Plan.read(tiny | {"randomisation": {}}, root)
    assert plan.randomised_bundles == ["cams", "late"]
    added = [path for path in plan.score_tables() if path.startswith("results/tiny/scores/randomisation/")]
    assert len(added) == 2 * 4
    assert RuleParams(plan).estimate()["better"]["randomisation"] == "lower"
    assert "randomise late" in RuleParams(plan).code_digests()
    assert Plan.read(tiny | {"randomisation": {"bundles": ["late"]}}, root).randomised_bundles == ["late"]


@pytest.mark.parametrize(
    ("path", "value", "decided"),
    [
        ("randomisation/steps", 3, {"randomise"}),
        ("randomisation/orders", ["top_down"], {"randomise"}),
        ("randomisation/max_images", 5, {"randomise"}),
        ("explain/precision", "bf16", {"randomise", "cams"}),
        ("seed", 3, {"randomise", "cams", "masking"}),
        ("batteries/masking/imputers", ["black"], {"masking"}),
        ("statistics/min_groups", 9, {"estimate"}),
    ],
)
def test_a_cell_is_stale_only_by_what_decides_it(
    tiny: dict[str, Any], root: Path, path: str, value: Any, decided: set[str]
) -> None:
    document = tiny | {"randomisation": ASKED}
    before, after = slices(document, root), slices(put(document, path, value), root)
    assert {name for name in before if before[name] != after[name]} == decided


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"randomisation": {"bundles": ["cam"]}}, 'randomisation.bundles: cam is not a bundle; did you mean "cams"?'),
        ({"randomisation": {"orders": ["top_down", "top_down"]}}, "randomisation.orders: each once"),
        ({"randomisation": {"steps": 0}}, "randomisation.steps"),
        ({"randomisation": {"step": 4}}, 'randomisation.step: unknown key; did you mean "steps"?'),
        ({"figures": ["randomisation"]}, "figures.randomisation: it shows results of `randomisation:`"),
        (
            {"randomisation": {}, "localization": {"randomisation": {"use": "locacc"}}},
            "the label randomisation is reserved for",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(
    tiny: dict[str, Any], root: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyInvalid) as refusal:
        Plan.read(tiny | changes, root)
    assert said in str(refusal.value)
