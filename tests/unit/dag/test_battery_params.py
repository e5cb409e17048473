"""Batteries of one kind, and composites of what a study measures: what is refused, what decides a cell, and what makes it stale."""

import json
from pathlib import Path
from typing import Any

import pytest
from refused import put, refusal

from gradfaith.dag import code_digest
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RERUN_CODE, SCRIPTS, RuleParams

RERUN = {"metrics": {"coherency": {}, "max_sensitivity": {"options": {"draws": 2}}}, "imputers": ["black", "mean"]}
MASKING = {"metrics": ["faith", "complexity", "average_drop"], "imputers": ["mean", "black", "blur"]}
RANKING = {"metrics": ["road", "road_pgc"], "imputers": {"fill": {"use": "noisy_linear"}, "black": {}}}


def whole(tiny: dict[str, Any], *composites: str, **batteries: Any) -> dict[str, Any]:
    """The tiny study with all three batteries, or those given."""
    kept = {"masking": MASKING, "ranking": RANKING, "rerun": RERUN} | batteries
    return tiny | {
        "batteries": {name: battery for name, battery in kept.items() if battery},
        "composite": list(composites),
        "primary": tiny["primary"],
    }


@pytest.mark.parametrize(
    "metrics",
    [["faith", "coherency"], ["road", "faith"], ["deletion", "max_sensitivity"]],
)
def test_a_battery_of_two_kinds_is_refused(tiny: dict[str, Any], root: Path, metrics: list[str]) -> None:
    found = refusal(put(tiny, "batteries/both", {"metrics": metrics, "imputers": ["black"]}) | {"localization": ["locacc"],
        "primary": {"metric": "locacc", "method": "gradcam", "against": "centre"}}, root).problem  # fmt: skip
    assert "batteries.both.metrics: " in found
    assert all(f"{name} (" in found for name in metrics)
    assert "give each kind its own battery" in found


def test_several_batteries_of_one_kind_are_a_study_s_own_affair(tiny: dict[str, Any], root: Path) -> None:
    more = {"metrics": {"again": {"use": "coherency"}}, "imputers": ["blur"]}
    plan = Plan.read(whole(tiny, more=more), root)
    assert [battery.kind for battery in plan.study.batteries.values()] == ["masking", "ranking", "rerun", "rerun"]


@pytest.mark.parametrize(
    ("battery", "said"),
    [
        (
            {"metrics": ["coherency"]},
            "batteries.rerun.imputers: coherency removes pixels and needs an imputer, but the list is empty",
        ),
        ({"metrics": ["faith"], "imputers": []}, "batteries.rerun.imputers: faith removes pixels"),
        (
            {"metrics": ["max_sensitivity"], "imputers": ["black"]},
            "batteries.rerun.imputers: black would be used by none of max_sensitivity",
        ),
        ({"metrics": [], "imputers": ["black"]}, "batteries.rerun.metrics: Dictionary should have at least 1 item"),
    ],
)
def test_imputers_are_named_where_they_are_read_and_only_there(
    tiny: dict[str, Any], root: Path, battery: dict[str, Any], said: str
) -> None:
    tiny["batteries"] = {"rerun": battery}
    tiny["primary"] |= {"metric": "saliency_score"}
    assert said in refusal(tiny, root).problem


def test_a_battery_that_fills_nothing_needs_no_imputer(tiny: dict[str, Any], root: Path) -> None:
    plan = Plan.read(whole(tiny, rerun={"metrics": ["max_sensitivity", "randomisation_sensitivity"]}), root)
    assert plan.study.batteries["rerun"].imputers == {}


@pytest.mark.parametrize(
    ("name", "batteries", "said"),
    [
        ("adcc", {"rerun": {}}, "composite.adcc: its part coherency is not a metric of the study; add it to the metrics of a rerun"),
        ("adcc", {"masking": MASKING | {"metrics": ["faith"]}}, "is not a metric of the study; add it to the metrics of batteries.masking"),
        ("arcc", {"ranking": RANKING | {"metrics": {"road": {"options": {"shares": [0.5]}}}}}, "composite.arcc: it reads road with its defaults"),
        ("arcc", {"ranking": None}, "composite.arcc: its part road is not a metric of the study"),
        ("arcc", {"ranking": RANKING | {"imputers": ["black"]}}, "road with imputer noisy_linear; add noisy_linear to batteries.ranking.imputers"),
        ("arcc_literature", {}, "its part coherency_literature is not a metric of the study; add it to the metrics of batteries.rerun"),
        ("adcc", {"masking": MASKING | {"imputers": ["blur"]}}, "composite.adcc: coherency, complexity, average_drop share no imputer"),
        (
            "adcc", {"masking": MASKING | {"imputers": {"black": {"use": "blur"}}}, "rerun": RERUN | {"imputers": ["black"]}},
            "share no imputer; add one, with equal options, to the batteries of all of them",
        ),
        (
            "adcc", {"rerun": {"metrics": {"one": {"use": "coherency"}, "two": {"use": "coherency"}}, "imputers": ["black"]}},
            "its part coherency has the labels one, two; give one of them the label coherency",
        ),
        ("adc", {}, 'did you mean "adcc"'),
    ],
)  # fmt: skip
def test_a_composite_whose_parts_are_not_measured_is_refused_with_what_to_add(
    tiny: dict[str, Any], root: Path, name: str, batteries: dict[str, Any], said: str
) -> None:
    assert said in refusal(whole(tiny, name, **batteries), root).problem


def test_a_composite_s_label_may_not_stand_twice(tiny: dict[str, Any], root: Path) -> None:
    document = whole(tiny) | {"composite": {"faith": {"use": "adcc"}}}
    assert "metrics: the label faith is used twice" in refusal(document, root).problem


def test_a_composite_reads_its_parts_under_the_study_s_labels(tiny: dict[str, Any], root: Path) -> None:
    """Variants are what all parts of the composite's own imputer share, in the order of the first one's battery."""
    rerun = {"metrics": {"again": {"use": "coherency"}}, "imputers": ["mean", "black"]}
    document = whole(tiny, "arcc", rerun=rerun) | {"primary": tiny["primary"] | {"metric": "arcc"}}
    rule_params = RuleParams(Plan.read(document, root))
    assert rule_params.merge_scores()["composites"] == {
        "arcc": {
            "use": "arcc", "options": {}, "variants": ["mean", "black"],
            "parts": {
                "coherency": {"metric": "again", "variant": ""}, "complexity": {"metric": "complexity", "variant": ""},
                "road": {"metric": "road", "variant": "fill"},
            },
        }
    }  # fmt: skip
    assert rule_params.estimate()["primary"]["variant"] == "mean"
    assert rule_params.estimate()["better"]["arcc"] == "higher"


@pytest.mark.parametrize(
    ("metric", "variant"), [("coherency", "black"), ("max_sensitivity", ""), ("adcc", "black"), ("road", "fill")]
)
def test_the_primary_variant_is_the_first_imputer_where_one_is_read(
    tiny: dict[str, Any], root: Path, metric: str, variant: str
) -> None:
    document = whole(tiny, "adcc") | {"primary": tiny["primary"] | {"metric": metric}}
    assert RuleParams(Plan.read(document, root)).estimate()["primary"]["variant"] == variant


def params_of_rules(document: dict[str, Any], root: Path) -> dict[str, str]:
    of = RuleParams(Plan.read(document, root))
    cells = {name: of.faithfulness("net-a", bundle, name.split()[0]) for bundle in ("cams", "controls") for name in
        (f"masking {bundle}", f"rerun {bundle}")}  # fmt: skip
    cells |= {"rerun cams b": of.faithfulness("net-b", "cams", "rerun"), "merge_scores": of.merge_scores()}
    return {name: json.dumps(value, sort_keys=True) for name, value in cells.items()}


RERUNS = {"rerun cams", "rerun cams b", "rerun controls"}


@pytest.mark.parametrize(
    ("path", "value", "decided"),
    [
        ("bundles/cams/methods", {"gradcam": {"layer": {"net-a": "layer3"}}}, {"rerun cams"}),
        ("bundles/cams/methods", {"gradcam": {"score": "margin"}}, {"rerun cams", "rerun cams b"}),
        ("explain/precision", "bf16", RERUNS),
        ("explain/max_images", 5, set()),  # the maps say which images
        ("batteries/rerun/imputers", ["black"], RERUNS | {"merge_scores"}),
        ("batteries/masking/imputers", ["mean"], {"masking cams", "masking controls", "merge_scores"}),
        ("composite", [], {"merge_scores"}),
        ("seed", 3, RERUNS | {"masking cams", "masking controls"}),
    ],
)
def test_a_cell_is_stale_only_by_what_decides_it(
    tiny: dict[str, Any], root: Path, path: str, value: Any, decided: set[str]
) -> None:
    document = json.loads(json.dumps(whole(tiny, "adcc")))
    before, after = params_of_rules(document, root), params_of_rules(put(document, path, value), root)
    assert {name for name in before if before[name] != after[name]} == decided


def test_what_explains_again_is_no_code_of_the_other_batteries() -> None:
    """They need not run again when it, or what it stands on, changes."""
    reached = {path.name for path in code_digest.numeric_files(SCRIPTS / "faithfulness.py")}
    assert {"masking.py", "rerun.py"} <= reached
    assert not {"shared_passes.py", "cell.py", "randomise.py", "bound_method.py"} & reached
    assert {"shared_passes.py", "cell.py", "randomise.py", "bound_method.py"} <= {
        path.name for path in code_digest.numeric_files(RERUN_CODE)
    }


def test_the_code_of_a_re_run_is_that_of_its_methods_too(tiny: dict[str, Any], root: Path) -> None:
    methods = {"gradcam": {}, "fine": {"use": "refine", "options": {"of": "hirescam"}}}
    of = RuleParams(Plan.read(whole(put(tiny, "bundles/cams/methods", methods), "adcc"), root))
    named = set(of._plugins("faithfulness", "cams", "rerun", "", ""))
    assert {
        ("methods", "gradcam"),
        ("methods", "hirescam"),
        ("faithfulness", "coherency"),
        ("imputers", "mean"),
    } <= named
    assert not [room for room, _ in of._plugins("faithfulness", "cams", "masking", "", "") if room == "methods"]
    assert {room for room, _ in of._plugins("faithfulness", "controls", "rerun", "", "")} == {
        "controls",
        "faithfulness",
        "imputers",
    }
    assert of._plugins("merge_scores", "", "", "", "") == [("composite", "adcc")]
    codes = of.code_digests()
    assert of.code_digest("faithfulness", bundle="cams", battery="masking") == codes["faithfulness masking"]
    assert {
        "faithfulness masking",
        "faithfulness rerun of cams",
        "faithfulness rerun of controls",
        "merge_scores",
    } <= set(codes)
    assert codes["faithfulness rerun of cams"] != codes["faithfulness rerun of controls"]
