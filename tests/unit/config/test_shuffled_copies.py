"""`controls.shuffled`: which maps have shuffled copies, and what a study cannot ask then."""

from pathlib import Path
from typing import Any

import pytest

from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid


@pytest.fixture
def two(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with two methods, of which one has shuffled copies, and a comparison with another control."""
    return tiny | {
        "bundles": {"cams": {"methods": ["gradcam", "layercam"]}},
        "controls": {"shuffled": ["gradcam"]},
        "primary": tiny["primary"] | {"against": "half"},
    }


def test_only_the_named_methods_have_copies(two: dict[str, Any], root: Path) -> None:
    shuffled = {name for name in Plan.read(two, root).map_labels if name.startswith("shuffled-")}
    assert shuffled == {"shuffled-gradcam", "shuffled-random-grid"}
    every = {name for name in Plan.read(two | {"controls": {}}, root).map_labels if name.startswith("shuffled-")}
    assert every == shuffled | {"shuffled-layercam"}


def test_the_copies_decide_the_maps_of_their_bundle(two: dict[str, Any], root: Path) -> None:
    def methods(document: dict[str, Any]) -> Any:
        return RuleParams(Plan.read(document, root)).explain("net-a", "cams")["methods"]

    some = methods(two)
    assert (some["gradcam"]["shuffled"], some["layercam"]["shuffled"]) == (True, False)
    assert some != methods(two | {"controls": {}})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"controls": {"shuffled": ["gradcan"]}}, 'controls.shuffled: gradcan is not a method of the study; did you mean "gradcam"?'),
        (
            {"primary": {"metric": "locacc", "method": "layercam", "against": "shuffled-layercam"}},
            "primary.against: shuffled-layercam is not one of",
        ),
    ],
)  # fmt: skip
def test_a_copy_that_does_not_exist_is_refused(
    two: dict[str, Any], root: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyInvalid) as refusal:
        Plan.read(two | changes, root)
    assert said in str(refusal.value)
