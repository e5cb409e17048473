"""`meta:` in a study: which file it adds, what decides it, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from refused import put

from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid

BUNDLES = {"cams": {"methods": ["gradcam", "layercam", "eigencam"]}}
RANKING = {"ranking": {"metrics": ["road", "deletion"], "imputers": ["black"]}}


@pytest.fixture
def several(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with three methods, a metric of order, and its metrics judged."""
    return tiny | {"bundles": BUNDLES, "batteries": tiny["batteries"] | RANKING, "meta": {}}


def test_it_judges_every_metric_of_a_map_and_none_of_models(several: dict[str, Any], root: Path) -> None:
    of = RuleParams(Plan.read(several, root))
    asked = of.meta()
    assert asked["truth"] == ["saliency_score"]
    assert asked["better"] == {
        **dict.fromkeys(["locacc", "saliency_score", "iou_area_matched", "faith", "faith_logit", "road"], "higher"),
        "deletion": "lower",
    }
    assert asked["order_only"] == ["iou_area_matched", "road", "deletion"]
    assert {"uniform", "random-grid", "lungs"} <= set(asked["controls"])
    assert "meta" in of.code_digests()


def test_without_the_key_there_is_no_such_code(tiny: dict[str, Any], root: Path) -> None:
    assert "meta" not in RuleParams(Plan.read(tiny, root)).code_digests()


@pytest.mark.parametrize(
    ("path", "value", "stale"),
    [
        ("meta/truth", ["iou_area_matched"], True),
        ("meta/against", "road", True),
        ("statistics/min_groups", 9, True),
        ("batteries/ranking/metrics", ["road"], True),
        ("figures", ["panels"], False),
        ("batteries/ranking/imputers", ["mean"], False),  # the scores change, not how they are judged
    ],
)
def test_it_is_stale_by_what_decides_it(
    several: dict[str, Any], root: Path, path: str, value: Any, stale: bool
) -> None:
    def asked(document: dict[str, Any]) -> str:
        return json.dumps(RuleParams(Plan.read(document, root)).meta(), sort_keys=True)

    before = asked(several)
    after = asked(put(several, path, value))
    assert (before != after) == stale


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"meta": {"truth": ["saliency_scores"]}}, 'saliency_scores is not a localization metric of the study; did you mean "saliency_score"?'),
        ({"meta": {"truth": ["road"]}}, "meta.truth: road is not a localization metric of the study"),
        ({"meta": {"truth": []}}, "meta.truth"),
        ({"meta": {"truth": ["locacc", "locacc"]}}, "meta.truth: each once"),
        ({"meta": {"truths": ["locacc"]}}, 'meta.truths: unknown key; did you mean "truth"?'),
        ({"meta": {"truth": ["border_share"]}, "localization": ["border_share"]}, "meta.truth: border_share does not measure how well"),
        ({"meta": {"against": "consist"}}, "meta.against: consist is not one of locacc, iou_area_matched, faith"),
        ({"meta": {"against": "saliency_score"}}, "meta.against: saliency_score is not one of"),
        ({"localization": ["saliency_score"], "batteries": {}}, "meta: the study has no metric to evaluate besides saliency_score"),
        ({"bundles": {"cams": {"methods": ["gradcam", "layercam"]}}}, "meta: it ranks methods and needs at least three, but the study has 2"),
        ({"figures": {"meta": {"options": {"truth": "locacc"}}}}, "figures.meta.options.truth: locacc is not one of saliency_score"),
        ({"figures": {"two": {"use": "meta", "options": {"arch": "net-c"}}}}, "figures.two.options.arch: net-c is not one of net-a, net-b"),
        ({"figures": {"meta": {"options": {"coefficient": "kendall"}}}}, 'option "coefficient" of meta'),
        ({"meta": None, "figures": ["meta"]}, "figures.meta: it shows results of `meta:`, but the study does not have this key"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_key(
    several: dict[str, Any], root: Path, changes: dict[str, Any], said: str
) -> None:
    document = several | {"primary": several["primary"] | {"metric": "saliency_score"}} | changes
    with pytest.raises(StudyInvalid) as refusal:
        Plan.read(document, root)
    assert said in str(refusal.value)


def test_without_evidence_it_is_refused_with_the_reason(several: dict[str, Any], root: Path) -> None:
    blind = several | {
        "dataset": {"name": "iqothnccd"},
        "localization": [],
        "primary": several["primary"] | {"metric": "faith"},
    }
    with pytest.raises(StudyInvalid) as refusal:
        Plan.read(blind, root)
    said = str(refusal.value)
    assert "meta: it compares metrics with evidence, but dataset iqothnccd has none (evidence: none)" in said
    assert "meta.truth" not in said, "one reason is enough"
