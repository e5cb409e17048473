"""A plan lists a study's files; a study may stand on another; each rule knows its slice and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from refused import put

from gradfaith import registry
from gradfaith.config.study import TAKEN_FROM_BASE
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import BrokenPlugin, StudyInvalid

ARCH = "net-a"


@pytest.fixture
def place(tmp_path: Path, root: Path, tiny: dict[str, Any]) -> Path:
    """A root with one study, `tiny`, to stand on."""
    (tmp_path / "config/studies").mkdir(parents=True)
    (tmp_path / "config/datasets").symlink_to(root / "config/datasets")
    (tmp_path / "config/studies/tiny.yaml").write_text(yaml.safe_dump(tiny))
    return tmp_path


def on_base(tiny: dict[str, Any], base: str = "tiny", **changes: Any) -> dict[str, Any]:
    own = {key: value for key, value in tiny.items() if key not in TAKEN_FROM_BASE}
    return own | {"study": "wider", "base": base} | changes


def test_nothing_that_builds_the_dag_imports_torch() -> None:
    script = (
        "import sys; from gradfaith.cli.reference import generate; from gradfaith.dag import plan, rule_params; "
        "from gradfaith.runtime import job; from gradfaith.storage import hdf5, parquet; generate.study_schema(); "
        "assert not {'torch', 'timm', 'captum'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_reading_a_study_imports_nothing_that_draws_or_decodes_images(root: Path) -> None:
    """Every job reads its study once more to record its work."""
    script = (
        "import sys; from pathlib import Path; from gradfaith.config.locate import read_document; "
        "from gradfaith.dag.plan import Plan; root = Path(sys.argv[1]); "
        "Plan.read(read_document(root / 'config/config.yaml'), root); "
        "found = {'scipy.ndimage', 'scipy.fft', 'scipy.special', 'matplotlib', 'PIL', 'torch'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", script, str(root)], check=True, timeout=60)


def test_the_paper_s_study_fetches_its_images_unless_a_source_is_named(root: Path, tmp_path: Path) -> None:
    document = yaml.safe_load((root / "config/studies/paper.yaml").read_text())
    plan = Plan.read(document, root)
    assert plan.starting_weights("resnet50") == "resources/weights/resnet50.safetensors"
    assert len(plan.per_model(plan.paths.weights)) == 25
    assert plan.dataset.fetched
    assert plan.raw_inputs() == ["resources/iqothnccd/listings/paper.tsv"]
    image = tmp_path / "own/Normal cases/Normal case (1).jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"stand-in")
    own = Plan.read(document | {"dataset": {"name": "iqothnccd", "source": str(tmp_path / "own")}}, root)
    assert not own.dataset.fetched
    assert own.raw_inputs() == plan.raw_inputs()  # where the files lie is no business of the rules
    with pytest.raises(StudyInvalid, match=r'dataset.source: ".*nowhere" is neither a folder nor an archive'):
        Plan.read(document | {"dataset": {"name": "iqothnccd", "source": str(tmp_path / "nowhere")}}, root)


def test_the_paper_s_study_trains_by_plain_cross_entropy_and_its_variant_differs_in_the_recipe_alone(
    root: Path,
) -> None:
    """Equation 1 of the paper has no class weights, and no augmentation is described."""
    own, variant = (
        yaml.safe_load((root / f"config/studies/{name}.yaml").read_text()) for name in ("paper", "paper-augmented")
    )
    recipe = Plan.read(own, root).study.training
    assert recipe != "none"
    plain = {"class_weights": False, "group_weights": False, "max_slices_per_group": None, "label_smoothing": 0}
    unchanged = dict.fromkeys(("flip", "shift", "rotate", "scale", "contrast", "mixup"), 0)
    assert recipe.model_dump(include={*plain, *unchanged}) == plain | unchanged
    assert (recipe.epochs, recipe.weights) == (50, "pretrained")
    assert {key for key in own | variant if own.get(key) != variant.get(key)} == {"study", "title", "training"}
    other = Plan.read(variant, root).study.training
    assert other != "none"
    changed = {key for key, value in other.model_dump().items() if value != getattr(recipe, key)}
    assert changed == {"class_weights", "flip", "shift", "rotate", "contrast"}


def test_every_study_has_every_control_and_shuffled_copies_of_its_methods(tiny: dict[str, Any], root: Path) -> None:
    plan = Plan.read(tiny, root)
    assert set(plan.bundles) == {"cams", "controls"}
    assert {"random", "random-grid", "centre", "edges", "uniform", "half"} <= set(plan.bundles["controls"])
    assert [name for name in plan.map_labels if name.startswith("shuffled-")] == [
        "shuffled-gradcam",
        "shuffled-random-grid",
    ]


def test_score_tables_are_one_per_cell(tiny: dict[str, Any], root: Path) -> None:
    tables = Plan.read(tiny, root).score_tables()
    assert len(tables) == len(set(tables)) == 4 + 2 * 4 + 2  # localization, bundles x models, agreement
    assert not [path for path in tables if "{" in path]
    assert "results/tiny/scores/faithfulness/net-b/seed-1/controls.masking.parquet" in tables


def test_a_study_on_a_base_shares_data_and_models_and_keeps_its_own_maps(place: Path, tiny: dict[str, Any]) -> None:
    base = Plan.read(tiny, place)
    own = Plan.read(on_base(tiny, figures=[]), place)
    for shared in ("manifest", "splits", "images", "weights", "card", "predictions"):
        assert getattr(own.paths, shared) == getattr(base.paths, shared)
        assert getattr(own.paths, shared).startswith("results/tiny/")
    for kept in ("maps", "faithfulness", "localization", "agreement", "scores", "estimates", "provenance"):
        assert getattr(own.paths, kept).startswith("results/wider/")
    for rule in ("index", "split", "pack_images"):
        assert getattr(RuleParams(own), rule)() == getattr(RuleParams(base), rule)()
    assert RuleParams(own).train(ARCH) == RuleParams(base).train(ARCH)
    assert own.paths.home_log("index").startswith("results/tiny/")


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        ("tiny", {"seeds": [0, 1], "image": {"size": 64}}, "takes image, seeds from `base: tiny`"),
        ("tiny", {"study": "tiny"}, "it is the name of this study itself"),
        ("wide", {}, "there is no study `wide` in config/"),
        ("second", {}, "`second` has a base study itself"),
    ],
)
def test_a_base_that_cannot_be_stood_on_is_refused(
    place: Path, tiny: dict[str, Any], base: str, changes: dict[str, Any], said: str
) -> None:
    (place / "config/studies/second.yaml").write_text(yaml.safe_dump(on_base(tiny, study="second")))
    with pytest.raises(StudyInvalid) as refusal:
        Plan.read(on_base(tiny, base, **changes), place, "wider.yaml")
    assert "wider.yaml: base: " in refusal.value.problem
    assert said in refusal.value.problem


def params_of_rules(document: dict[str, Any], root: Path) -> dict[str, str]:
    """Every rule's slice, as the text that Snakemake compares."""
    of = RuleParams(Plan.read(document, root))
    found = {
        "data": of.index(), "split": of.split(), "pack": of.pack_images(), "model": of.train(ARCH), "model b": of.train("net-b"),
        "cams": of.explain(ARCH, "cams"), "cams b": of.explain("net-b", "cams"), "controls": of.explain(ARCH, "controls"),
        "masking": of.faithfulness(ARCH, "cams", "masking"), "localization": of.localization(), "agreement": of.agreement(),
        "across": of.across(),
        "estimate": of.estimate(), "figure": of.figure("classification"), "about": of.study_description(), "whole": of.provenance(),
    }  # fmt: skip
    return {name: json.dumps(value, sort_keys=True) for name, value in found.items()}


BUNDLES = {"cams", "cams b", "controls"}
DECIDED = [
    ("compute", {"chunk": 8, "device": "cpu", "threads": 2, "mem_mb": 4000}, set()),
    ("keep/maps", False, set()),
    ("title", "another", {"about"}),
    ("dataset/options/difficulty", 0.5, {"data", "pack"}),
    ("split/tolerance", 0.3, {"split"}),
    ("split/seed", 3, {"split"}),
    ("image/size", 48, {"pack", "model", "model b"}),
    ("image/mean", 0.5, {"model", "model b"}),
    ("training/epochs", 2, {"model", "model b"}),
    ("training/mixup", 0.2, {"model", "model b"}),
    ("training/weights", "pretrained", set()),  # an input file, not a parameter
    ("architectures/net-a/options/output_stride", 16, {"model"}),
    ("seeds", [0, 1, 2], {"about"}),
    ("explain/max_images", 5, BUNDLES),
    ("controls/copies", 7, BUNDLES),
    ("bundles/cams/methods", {"gradcam": {"layer": {"net-a": "layer3"}}}, {"cams"}),
    ("bundles/cams/methods", {"gradcam": {"score": "margin"}}, {"cams", "cams b"}),
    ("explain/precision", "bf16", BUNDLES),
    ("batteries/masking/imputers", ["black"], {"masking"}),
    ("batteries/masking/metrics", ["faith"], {"masking", "estimate", "about"}),
    ("localization", ["saliency_score"], {"localization", "estimate", "about"}),
    ("agreement", [], {"agreement", "across", "estimate", "about"}),
    ("across", ["architectures"], {"across"}),
    ("across", ["localization"], {"across"}),
    ("statistics/min_groups", 9, {"estimate", "about"}),
    ("statistics/rank_controls", "among", {"estimate", "about"}),
    ("primary/against", "centre", {"estimate", "about"}),
    ("seed", 3, {"split", "masking", "agreement", "across"} | BUNDLES),
]


@pytest.mark.parametrize(("path", "value", "decided"), DECIDED, ids=[path for path, _, _ in DECIDED])
def test_a_slice_changes_only_by_what_decides_it(
    tiny: dict[str, Any], root: Path, path: str, value: Any, decided: set[str]
) -> None:
    before, after = params_of_rules(tiny, root), params_of_rules(put(tiny, path, value), root)
    changed = {name for name in before if before[name] != after[name]}
    machine = path in {"compute", "keep/maps"}
    assert changed == decided | (set() if machine else {"whole"})


def test_a_method_is_asked_only_of_the_architectures_it_is_for(tiny: dict[str, Any], root: Path) -> None:
    methods = {"gradcam": {}, "exact": {"use": "cam", "only": ["net-b"]}, "fine": {"use": "refine", "layer": "layer2"}}
    plan = Plan.read(put(tiny, "bundles/cams/methods", methods), root)
    assert set(plan.method_settings(ARCH, "cams")) == {"gradcam", "fine"}
    assert set(plan.method_settings("net-b", "cams")) == {"gradcam", "exact", "fine"}
    assert set(RuleParams(plan).explain("net-b", "cams")["methods"]) == {"gradcam", "exact", "fine"}
    assert "exact" not in plan.all_method_settings(ARCH)
    probed = plan.all_method_settings("net-b")
    assert (probed["exact"].use, probed["exact"].layer) == ("cam", "auto")
    assert (probed["fine"].layer, probed["fine"].options["of"]) == ("layer2", "layercam")


def test_a_method_of_maps_is_stale_when_the_method_it_combines_changes(tiny: dict[str, Any], root: Path) -> None:
    methods = {"gradcam": {}, "fine": {"use": "refine", "options": {"of": "hirescam"}}}
    plan = Plan.read(put(tiny, "bundles/cams/methods", methods), root)
    assert ("methods", "hirescam") in RuleParams(plan)._plugins("explain", "cams", "", "", "")


def test_code_is_of_the_files_a_cell_uses(tiny: dict[str, Any], root: Path) -> None:
    before = RuleParams(Plan.read(tiny, root)).code_digests()
    assert before["explain cams"] != before["explain controls"]
    after = RuleParams(Plan.read(put(tiny, "batteries/masking/imputers", ["black"]), root)).code_digests()
    assert {name for name in before if before[name] != after[name]} == {"faithfulness masking"}


@pytest.mark.parametrize(
    ("metric", "options", "variant"),
    [
        ("iou", {}, "fixed"),
        ("iou", {"thresholds": ["otsu", "fixed"]}, "otsu"),
        ("locacc", {}, ""),
        ("faith", {}, "black"),
    ],
)
def test_the_primary_variant_is_the_first_asked_for(
    tiny: dict[str, Any], root: Path, metric: str, options: dict[str, Any], variant: str
) -> None:
    study = put(tiny, "localization", {"iou": {"options": options if metric == "iou" else {}}, "locacc": {}})
    plan = Plan.read(put(study, "primary/metric", metric), root)
    assert RuleParams(plan).estimate()["primary"]["variant"] == variant


@pytest.mark.parametrize(("group", "need"), [("figures", "imagess"), ("tables", "imagess"), ("tables", "images")])
def test_a_figure_or_table_with_a_need_that_nothing_meets_is_named_with_its_file(
    tiny: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch, group: str, need: str
) -> None:
    plan = Plan.read(tiny, root)
    plugin = registry.Entry("mine", Path("mine.py"), {"needs": ("estimates", need)}, {}, "")
    monkeypatch.setattr(registry, "entry", lambda *_: plugin)
    with pytest.raises(BrokenPlugin, match=f"mine.py: `needs` names {need}"):
        plan.report_inputs(group, "mine")


def test_a_bundle_has_cells_only_where_it_asks_something(tiny: dict[str, Any], root: Path) -> None:
    """No job with a GPU for a store without maps, and none that waits for one."""
    document = put(tiny, "randomisation", {"steps": 2})
    document["bundles"]["chain"] = {"methods": {"cam": {"only": ["net-a"]}}}
    document["figures"] = ["panels"]
    plan = Plan.read(document, root)
    assert (plan.bundles_of("net-a"), plan.bundles_of("net-b")) == (["cams", "chain", "controls"], ["cams", "controls"])
    files = (
        plan.score_tables()
        + plan.curve_tables()
        + list(plan.report_inputs("figures", "panels")["maps"])
        + plan.map_stores("net-b")
    )
    assert {path.split("/seed-")[0].rpartition("/")[2] for path in files if "chain" in path} == {"net-a"}
    across = Plan.read(document | {"across": ["architectures"]}, root)  # opened by their place, bundle by bundle
    assert across.bundles_of("net-b") == ["cams", "chain", "controls"]
