"""An ONNX file in a study: inside the project, taken as it is, and explained only by what needs answers only."""

from pathlib import Path
from typing import Any

import pytest

from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid

BOX = {"box": {"onnx": "models/lungs.onnx"}}
ANSWERS = {"some": {"methods": ["occlusion", "rise"]}}
PRIMARY = {"metric": "saliency_score", "method": "rise", "against": "random-grid"}


def boxed(tiny: dict[str, Any], **changes: Any) -> dict[str, Any]:
    figures = [name for name in tiny["figures"] if name != "training"]
    own = {"architectures": BOX, "bundles": ANSWERS, "primary": PRIMARY, "figures": figures}
    return tiny | {"training": "none", "seeds": [0], "agreement": []} | own | changes


def test_the_file_is_the_weights_of_its_model(root: Path, tiny: dict[str, Any]) -> None:
    plan = Plan.read(boxed(tiny), root)
    assert plan.starting_weights("box") == "models/lungs.onnx"
    assert plan.fetched_weights == []
    spec = RuleParams(plan).train("box")["spec"]
    assert spec == {"in_chans": 3, "options": {}, "onnx": "models/lungs.onnx"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"bundles": {"some": {"methods": ["rise", "gradcam"]}}},
            "bundles.some.methods.gradcam: gradcam needs gradients",
        ),
        (
            {"bundles": {"some": {"methods": ["rise", "refine"]}}},
            "use one of feature_ablation, kernel_shap, lime, occlusion",
        ),
        ({"training": {"epochs": 1, "warmup_epochs": 0}}, "training: box is an ONNX file and cannot be trained"),
        ({"randomisation": {"steps": 2}}, "randomisation: box is an ONNX file"),
        ({"inference": {"precision": "bf16"}}, "precision"),
        ({"explain": {"precision": "bf16"}}, "explain.precision: box is an ONNX file"),
        ({"architectures": {"box": {"onnx": "../lungs.onnx"}}}, "inside the project's folder"),
        ({"architectures": {"box": {"onnx": "a/../../lungs.onnx"}}}, "inside the project's folder"),
        ({"architectures": {"box": {"onnx": "/models/lungs.onnx"}}}, "inside the project's folder"),
        ({"architectures": {"box": {"onnx": "models/lungs.pt"}}}, "inside the project's folder"),
        ({"architectures": {"box": {"onnx": "a.onnx", "timm": "resnet18"}}}, "timm and onnx both name a network"),
        ({"architectures": {"box": {"onnx": "a.onnx", "layer": "layer4"}}}, "layer: an ONNX file"),
        ({"architectures": {"box": {"onnx": "a.onnx", "weights": "b.pt"}}}, "weights: an ONNX file"),
        ({"architectures": {"box": {"onnx": "a.onnx", "options": {"depth": 3}}}}, "depth is unknown"),
    ],
)
def test_what_it_cannot_do_is_refused(root: Path, tiny: dict[str, Any], changes: Any, said: str) -> None:
    with pytest.raises(StudyInvalid) as refused:
        Plan.read(boxed(tiny, **changes), root)
    assert said in refused.value.problem


def test_other_architectures_may_have_more_methods(root: Path, tiny: dict[str, Any]) -> None:
    both = BOX | {"net-a": {"timm": "test_resnet.r160_in1k", "weights": "a.safetensors"}}
    methods = {"rise": {}, "gradcam": {"only": ["net-a"]}}
    plan = Plan.read(boxed(tiny, architectures=both, bundles={"some": {"methods": methods}}), root)
    assert [list(plan.method_settings(arch, "some")) for arch in both] == [["rise"], ["rise", "gradcam"]]
