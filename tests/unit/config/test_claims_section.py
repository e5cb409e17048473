"""`claims:` in a study: what may stand there, what plays each role, what is refused, and what makes the table stale."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from claim_scores import claim_data
from refused import put, refusal

from gradfaith.config.claims import DeclaredClaim
from gradfaith.config.result_settings import ClaimsSettings, ResolvedClaim
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.stats.claims import Claim as ClaimOfStats
from gradfaith.stats.claims import evaluate_claims

OWN = """
gradcam-beats-noise:
  says: Grad-CAM shows the lesion better than noise
  metric: saliency_score
  method: gradcam
  against: random-grid
  margin: 0.1
"""


def own() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(OWN)
    return document


def claims(document: dict[str, Any], root: Path) -> list[ResolvedClaim]:
    return ClaimsSettings.of_params(RuleParams(Plan.read(document, root)).claims()).claims


def resolved(document: dict[str, Any], root: Path, **claim: Any) -> ResolvedClaim:
    (found,) = claims(document | {"claims": {"mine": {"says": "A sentence", "margin": 0, **claim}}}, root)
    return found


def cases(claim: ResolvedClaim) -> list[tuple[str, str]]:
    return [(test.case, test.condition) for test in claim.tests]


def test_the_shipped_claims_are_twenty_three_and_complete(root: Path) -> None:
    shipped = yaml.safe_load((root / "config/claims.yaml").read_text())
    assert len(shipped) == 23
    assert all(DeclaredClaim.model_validate(claim).paper for claim in shipped.values())
    assert len({claim["says"] for claim in shipped.values()}) == 23


def test_five_lines_of_yaml_become_a_row(tiny: dict[str, Any], root: Path) -> None:
    document = tiny | {"claims": own(), "architectures": {"net-a": tiny["architectures"]["net-a"]}}
    (claim,) = claims(document, root)
    table = evaluate_claims([ClaimOfStats.of(claim.model_dump())], claim_data())
    (row,) = table.to_dict("records")
    assert (row["claim"], row["verdict"], row["case"]) == ("gradcam-beats-noise", "supported", "net-a")
    assert row["condition"] == "gradcam minus random-grid"
    assert row["low"] > row["margin"] == 0.1


def test_claims_are_named_by_a_list_a_path_or_a_mapping(tiny: dict[str, Any], root: Path) -> None:
    names = ["vit-localizes-better", "results-generalise"]
    assert [claim.name for claim in claims(tiny | {"claims": names}, root)] == names
    assert len(claims(tiny | {"claims": "config/claims.yaml"}, root)) == 23
    mixed = {"results-generalise": None, **own()}
    assert [claim.name for claim in claims(tiny | {"claims": mixed}, root)] == list(mixed)


def test_roles_are_found_by_the_module_of_timm_or_declared(tiny: dict[str, Any], root: Path) -> None:
    part = {"metric": "faith", "method": "gradcam", "against": "shuffled"}
    assert cases(resolved(tiny, root, **part, architecture="cnn")) == [("net-a", "gradcam minus shuffled-gradcam")]
    assert cases(resolved(tiny, root, **part, architecture="vision_transformer"))[0][0] == "net-b"
    compared = resolved(tiny, root, **part, architecture="vit", against_architecture="cnn")
    assert cases(compared) == [("net-b minus net-a", "gradcam minus shuffled-gradcam")]
    weights = {(term.arch, term.method): term.weight for term in compared.tests[0].terms}
    assert weights == {
        ("net-b", "gradcam"): 1, ("net-b", "shuffled-gradcam"): -1, ("net-a", "gradcam"): -1, ("net-a", "shuffled-gradcam"): 1,
    }  # fmt: skip
    declared = tiny | {"roles": {"cnn": ["net-a", "net-b"], "odd": ["net-b"]}}
    assert [case for case, _ in cases(resolved(declared, root, **part, architecture="cnn"))] == ["net-a", "net-b"]
    others = resolved(declared, root, **part, architecture="odd", against_architecture="others")
    assert cases(others)[0][0] == "net-b minus net-a"
    assert (
        resolved(tiny, root, **part, architecture="densenet").missing
        == "the study has no architecture of the role densenet; `roles` can name one"
    )
    assert resolved(declared, root, **part, architecture="vit").missing.endswith(
        "the role vit; `roles` can name one"
    ), "a declared role replaces timm's"


def test_methods_are_found_by_plugin_options_and_layer(tiny: dict[str, Any], root: Path) -> None:
    methods: dict[str, Any] = {
        "gradcam": {}, "layercam": {}, "gradcam-early": {"use": "gradcam", "layer": "layer2", "only": ["net-a"]},
        "layercam-early": {"use": "layercam", "layer": "layer2", "only": ["net-a"]},
        "mean": {"use": "refine", "options": {"of": "gradcam", "combine": "geometric"}, "only": ["net-a"]},
        "product": {"use": "refine", "options": {"of": "gradcam"}, "only": ["net-a"]},
        "other": {"use": "refine", "options": {"of": "layercam", "combine": "geometric"}, "only": ["net-a"]},
    }  # fmt: skip
    document = put(tiny, "bundles", {"cams": {"methods": methods}})
    part = {"metric": "locacc", "architecture": "net-a"}
    early = resolved(
        document,
        root,
        **part,
        method={"use": "layercam", "layer": "early"},
        against=[{"use": "gradcam", "layer": "early"}],
    )
    assert cases(early) == [("net-a", "layercam-early minus gradcam-early")]
    refined = resolved(
        document, root, **part, method={"use": "refine", "options": {"combine": "product"}},
        against=[{"use": "refine", "options": {"combine": "geometric"}}],
    )  # fmt: skip
    assert cases(refined) == [("net-a", "product minus mean")], "of the same base"
    improved = resolved(document, root, **part, method="product", against="base")
    assert cases(improved) == [("net-a", "product minus gradcam")]
    every = resolved(document, root, **part, method="gradcam", against="controls")
    assert [condition for _, condition in cases(every)][-1] == "gradcam minus shuffled-gradcam"
    assert len(every.tests) == 8
    assert cases(resolved(document, root, metric="locacc", method="mean")) == [("net-a", "mean")], (
        "net-b has no such map"
    )
    only_b = resolved(document, root, metric="locacc", method="mean", architecture="net-b")
    assert only_b.missing == "no bundle has the method mean on net-b"
    both = {"parts": [{"metric": "locacc", "method": "gradcam"}, {"metric": "locacc", "method": "mean"}]}
    assert cases(resolved(document, root, **both)) == [("net-a", "gradcam"), ("net-a", "mean")]


def test_a_part_can_be_a_precondition_but_not_every_part(tiny: dict[str, Any], root: Path) -> None:
    accuracy = {"quantity": "classification", "metric": "balanced_accuracy", "margin": 0.9, "precondition": True}
    found = resolved(tiny, root, parts=[accuracy, {"metric": "locacc", "method": "gradcam"}], over="any")
    assert {(test.condition, test.precondition) for test in found.tests} == {
        ("balanced_accuracy", True), ("gradcam", False),
    }  # fmt: skip
    alone = refusal(tiny | {"claims": {"mine": {"says": "s", "parts": [accuracy]}}}, root)
    assert "precondition: every part has it" in str(alone)


@pytest.mark.parametrize(
    ("claim", "missing"),
    [
        ({"metric": "iou"}, "the study has no metric iou; it needs masks"),
        ({"metric": "locacc", "method": "saliency"}, "no bundle has the method saliency on net-"),
        ({"metric": "locacc", "min_seeds": 3}, "it needs 3 seeds, and the study has 2"),
        ({"quantity": "studies"}, "it compares two studies"),
        ({"quantity": "fooled", "method": "gradcam", "metric": "faith"}, "the study has no control gradcam"),
        ({"quantity": "correlation", "metric": "faith"}, "a correlation needs three methods"),
    ],
)
def test_what_a_study_lacks_makes_a_claim_not_testable(
    tiny: dict[str, Any], root: Path, claim: dict[str, Any], missing: str
) -> None:
    found = resolved(tiny, root, **claim)
    assert missing in found.missing
    assert found.tests == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["vit-localises-better"], 'config/claims.yaml has no such claim; did you mean "vit-localizes-better"?'),
        ({"mine": {"says": "s", "metric": "salience_score", "margin": 0}}, 'claims.mine.metric: there is no salience_score; did you mean'),
        ({"mine": {"says": "s", "metric": "faith", "method": "grad", "margin": 0}}, 'claims.mine.method: there is no grad; did you mean'),
        ({"mine": {"says": "s", "metric": "faith", "against": "noise", "margin": 0}}, "claims.mine.against: there is no noise"),
        ({"mine": {"says": "s", "architecture": "cnns", "margin": 0}}, 'claims.mine.architecture: there is no cnns; did you mean "cnn"?'),
        ({"mine": {"says": "s", "metric": "faith"}}, "claims.mine: margin: there is none; state the difference that matters"),
        ({"mine": {"says": "s", "margin": 0, "metrics": "faith"}}, 'metrics: unknown key; did you mean "metric"?'),
        ({"mine": {"metric": "faith", "margin": 0}}, "claims.mine.says"),
        ("../elsewhere.yaml", "claims: the file ../elsewhere.yaml is outside the project"),
        ("/etc/hostname", "claims: the file /etc/hostname is outside the project"),
        ("config/no-such-file.yaml", "there is no file"),
        ("config", "cannot be read as a file of claims"),
        (5, "claims"),
    ],
)  # fmt: skip
def test_a_wrong_claim_is_an_error_with_its_key(tiny: dict[str, Any], root: Path, value: Any, words: str) -> None:
    assert words in str(refusal(tiny | {"claims": value}, root))


def test_a_role_of_no_architecture_is_an_error(tiny: dict[str, Any], root: Path) -> None:
    found = refusal(tiny | {"roles": {"vit": ["net-c"]}}, root)
    assert "roles.vit: net-c is not an architecture of the study" in found.problem
    drawn = refusal(tiny | {"figures": ["claims"]}, root)
    assert "figures.claims: it shows results of `claims:`" in drawn.problem


def test_without_the_key_there_is_no_table_and_no_code(tiny: dict[str, Any], root: Path) -> None:
    without, with_claims = Plan.read(tiny, root), Plan.read(tiny | {"claims": own()}, root)
    assert "claims" not in without.tables
    assert "claims" not in RuleParams(without).code_digests()
    assert "claims" in with_claims.tables
    assert "claims" in RuleParams(with_claims).code_digests()


@pytest.mark.parametrize(
    ("path", "value", "stale"),
    [
        ("claims/gradcam-beats-noise/margin", 0.2, True),
        ("statistics/level", 0.9, True),
        ("roles", {"vit": ["net-b"]}, False),  # no claim names the role
        ("figures", ["panels"], False),
    ],
)
def test_it_is_stale_by_what_decides_it(tiny: dict[str, Any], root: Path, path: str, value: Any, stale: bool) -> None:
    def params(document: dict[str, Any]) -> str:
        return json.dumps(RuleParams(Plan.read(document, root)).claims(), sort_keys=True)

    document = tiny | {"claims": own()}
    before = params(document)
    assert (before != params(put(document, path, value))) == stale
