"""A class map says which outputs are which class, by index or by name, and every slip in it is told before any job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gradfaith.config.study import TAKEN_FROM_EXTERNAL
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid
from gradfaith.storage import json_file

CLASSES = ["normal", "benign", "malignant"]


@pytest.fixture
def place(tmp_path: Path, root: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root, and in it the study `tiny` as if it were finished; its models answer in another order."""
    (tmp_path / "config/studies").mkdir(parents=True)
    (tmp_path / "config/datasets").symlink_to(root / "config/datasets")
    (tmp_path / "config/studies/tiny.yaml").write_text(yaml.safe_dump(tiny))
    monkeypatch.chdir(tmp_path)
    finish(tmp_path, ["malignant", "normal", "benign"])
    return tmp_path


def finish(place: Path, classes: list[str], size: int = 64, **changes: Any) -> None:
    harmonise = {"low_pass": 0.0, "resample": None, "jpeg": None}
    image = {"size": size, "fit": "pad", "channels": 1, "harmonise": harmonise | changes}
    card = {"classes": classes, "spec": {"size": size, "channels": 1}, "image": image}
    for name in ("data/manifest.parquet", "data/splits.parquet"):
        put(place / f"results/tiny/{name}", "")
    for arch in ("net-a", "net-b"):
        for seed in (0, 1):
            put(place / f"results/tiny/models/{arch}/seed-{seed}/weights.safetensors", "")
            json_file.write(place / f"results/tiny/models/{arch}/seed-{seed}/card.json", card)
            put(place / f"results/tiny/predictions/{arch}/seed-{seed}.parquet", "")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def outside(tiny: dict[str, Any], **changes: Any) -> dict[str, Any]:
    own = {key: value for key, value in tiny.items() if key not in (*TAKEN_FROM_EXTERNAL, "split")}
    figures = [name for name in tiny["figures"] if name != "training"]
    return own | {"study": "outside", "external": "tiny", "figures": figures} | changes


def alone(tiny: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A study of classifiers as they are."""
    architectures = {name: spec | {"weights": "mine.safetensors"} for name, spec in tiny["architectures"].items()}
    return tiny | {"training": "none", "seeds": [0], "agreement": [], "architectures": architectures} | changes


def refusal(document: dict[str, Any], place: Path) -> str:
    with pytest.raises(StudyInvalid) as refused:
        Plan.read(document, place, "mine.yaml")
    return refused.value.problem


def test_classes_of_another_order_are_found_by_name(place: Path, tiny: dict[str, Any]) -> None:
    plan = Plan.read(outside(tiny), place)
    assert plan.class_outputs == ((1,), (2,), (0,))
    assert plan.paths.weights.startswith("results/tiny/models/")
    for own in ("card", "predictions", "manifest", "splits", "images", "maps"):
        assert getattr(plan.paths, own).startswith("results/outside/")
    assert (plan.study.split.train, plan.study.split.val, plan.study.split.test) == (0, 0, 1)
    assert plan.study.seeds == [0, 1]
    assert "train" not in RuleParams(plan).code_digests()
    assert "study tiny" in plan.table_notes[0]


def test_names_and_indices_may_be_mixed_and_outputs_left_out(place: Path, tiny: dict[str, Any]) -> None:
    mapped = {"normal": [1], "benign": ["benign"], "malignant": [0]}
    assert Plan.read(outside(tiny, class_map=mapped), place).class_outputs == ((1,), (2,), (0,))
    finish(place, ["other", *CLASSES, "nothing"])
    assert "list in class_map" in refusal(outside(tiny), place)
    mapped = {"normal": ["normal", "nothing"], "benign": ["benign"], "malignant": [3]}
    plan = Plan.read(outside(tiny, class_map=mapped), place)
    assert plan.class_outputs == ((1, 4), (2,), (3,))
    assert plan.table_notes[1].startswith(
        "Classes combine the classifier's outputs: normal of normal + nothing, benign of"
    )
    assert RuleParams(plan).study_description()["notes"] == plan.table_notes


def test_a_classifier_as_it_is_takes_indices(place: Path, tiny: dict[str, Any]) -> None:
    mapped = {"normal": [7], "benign": [0, 2], "malignant": [1]}
    plan = Plan.read(alone(tiny, class_map=mapped), place)
    assert plan.class_outputs == ((7,), (0, 2), (1,))
    assert RuleParams(plan).train("net-a")["class_map"] == plan.class_outputs
    assert "class_map" not in RuleParams(Plan.read(alone(tiny), place)).train("net-a")


GOOD = {"normal": [1], "benign": [2], "malignant": [0]}
SLIPS = [
    ({"normal": [1], "benign": [2]}, "class_map: the class malignant has no output"),
    (GOOD | {"malignnt": [5]}, 'class_map.malignnt: dataset phantom has no such class; did you mean "malignant"'),
    (GOOD | {"normal": [1, 2]}, "class_map: output 2"),
    (GOOD | {"normal": []}, "class_map: normal has no output; this needs `head: sigmoid` in every architecture"),
    (GOOD | {"normal": [-1]}, "class_map.normal.0: Input should be greater than or equal to 0"),
]


@pytest.mark.parametrize(("mapped", "said"), SLIPS, ids=["no output", "class", "twice", "empty", "negative"])
@pytest.mark.parametrize("study", [alone, outside])
def test_a_slip_is_refused_with_its_path(
    place: Path, tiny: dict[str, Any], study: Any, mapped: dict[str, Any], said: str
) -> None:
    assert said in refusal(study(tiny, class_map=mapped), place)


@pytest.mark.parametrize(
    ("study", "changes", "said"),
    [
        (alone, {"class_map": GOOD | {"benign": ["benign"]}}, '"benign" is a name, but without `external`'),
        (alone, {"class_map": GOOD, "training": {"epochs": 2}}, "class_map needs `training: none` or `external`"),
        (outside, {"class_map": GOOD | {"normal": ["norml"]}}, 'the models of tiny have no class "norml"; did you mean "normal"'),
        (outside, {"class_map": GOOD | {"normal": [3]}}, "output 3 does not exist; the models of tiny have outputs 0 to 2"),
        (outside, {"class_map": GOOD | {"normal": ["benign"]}}, "class_map: output 2 (benign) is used twice"),
        (outside, {"image": {"size": 64}, "seeds": [0]}, "takes image, seeds from `external: tiny`"),
        (outside, {"split": {"seed": 1}}, "takes split from `external: tiny`"),
        (outside, {"base": "tiny"}, "base: tiny and external: tiny are both given"),
        (outside, {"figures": ["training"]}, "figures.training: it shows a training, but study tiny trained the models"),
        (outside, {"study": "tiny"}, "it is the name of this study itself"),
        (outside, {"external": "tny"}, "there is no study `tny` in config/"),
        (outside, {"explain": {"parts": ["test", "val"]}}, "explain.parts: val has no images, because split.val is 0 (with `external`"),
    ],
)  # fmt: skip
def test_what_contradicts_the_models_is_refused(
    place: Path, tiny: dict[str, Any], study: Any, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(study(tiny, **changes), place)


def test_models_that_are_not_there_or_are_not_what_the_file_says_are_refused(place: Path, tiny: dict[str, Any]) -> None:
    (place / "results/tiny/models/net-b/seed-1/card.json").unlink()
    found = refusal(outside(tiny), place)
    assert "of study tiny there is no results/tiny/models/net-b/seed-1/card.json" in found
    put(place / "results/tiny/models/net-b/seed-1/card.json", "{")
    assert "net-b/seed-1/card.json is not a model card of GradFaith" in refusal(outside(tiny), place)
    finish(place, CLASSES, size=96)
    assert "was trained with {'size': 96" in refusal(outside(tiny), place)
    finish(place, CLASSES, low_pass=2.0)
    assert "'low_pass': 2.0" in refusal(outside(tiny), place)


def test_a_study_that_stands_on_another_carries_no_third(place: Path, tiny: dict[str, Any]) -> None:
    put(place / "config/studies/outside.yaml", yaml.safe_dump(outside(tiny)))
    assert "`outside` has an external study itself" in refusal(outside(tiny, study="more", external="outside"), place)
    own = {key: tiny[key] for key in ("bundles", "primary", "localization")}
    assert "has an external study itself" in refusal(own | {"study": "more", "base": "outside"}, place)


def test_a_base_brings_its_class_map(place: Path, tiny: dict[str, Any]) -> None:
    put(place / "config/studies/mine.yaml", yaml.safe_dump(alone(tiny, study="mine", class_map=GOOD)))
    own = {key: tiny[key] for key in ("bundles", "primary", "localization")}
    plan = Plan.read(own | {"study": "wider", "base": "mine"}, place)
    assert plan.class_outputs == ((1,), (2,), (0,))


def test_one_class_can_stand_for_no_finding_of_sigmoid_heads(place: Path, tiny: dict[str, Any]) -> None:
    findings = {"net-a": {"timm": "test_resnet.r160_in1k", "weights": "a.safetensors", "head": "sigmoid"}}
    mapped = {"normal": [], "benign": [0], "malignant": [3, 4]}
    plan = Plan.read(alone(tiny, architectures=findings, class_map=mapped), place)
    assert plan.class_outputs == ((), (0,), (3, 4))
    assert RuleParams(plan).train("net-a")["spec"]["head"] == "sigmoid"
    assert "normal of no output of the others" in plan.table_notes[0]
    said = refusal(alone(tiny, architectures=findings, class_map=mapped | {"benign": []}), place)
    assert "class_map: normal and benign has no output; only one class can stand for no finding" in said


@pytest.mark.parametrize(
    ("head", "said"), [("sigmoid", "trained for two classes"), ("probabilities", "cannot be trained")]
)
def test_a_head_that_cannot_be_trained_is_refused(place: Path, tiny: dict[str, Any], head: str, said: str) -> None:
    architectures = {"net-a": {"timm": "test_resnet.r160_in1k", "head": head}}
    assert said in refusal(tiny | {"architectures": architectures}, place)
