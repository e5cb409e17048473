"""A slip of the pen is refused before any job, with the key's path and what was probably meant."""

import json
from pathlib import Path
from typing import Any

import pytest
from refused import put, refusal

from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.errors import StudyInvalid

NET = "architectures/net-a"


def combining(of: str, **inner: object) -> dict[str, object]:
    """RefineCAM of a method, with options for it."""
    return {"use": "refine", "options": {"of": of, "of_options": inner}}


REFUSED = [
    # a misspelt key, anywhere
    ("splitt", {}, "splitt: unknown key", 'did you mean "split"'),
    ("image/sise", 64, "image.sise: unknown key", 'did you mean "size"'),
    ("training/epoch", 3, "training.epoch: unknown key", 'did you mean "epochs"'),
    ("architectures/net-a/tim", "x", "architectures.net-a.tim: unknown key", 'did you mean "timm"'),
    ("bundles/cams/method", [], "bundles.cams.method: unknown key", 'did you mean "methods"'),
    ("bundles/cams/methods", {"gradcam": {"layers": "x"}}, "bundles.cams.methods.gradcam.layers: unknown key", 'did you mean "layer"'),
    ("dataset/options/sise", 64, "sise: unknown key", 'did you mean "size"'),
    ("dataset/options/shortcut", {"knd": "none"}, "shortcut.knd: unknown key", 'did you mean "kind"'),
    # an unknown name of every room
    ("bundles/cams/methods", ["gradcan"], "bundles.cams.methods", 'did you mean "gradcam"'),
    ("bundles/cams/methods", {"early": {"use": "gradcan"}}, "bundles.cams.methods", 'did you mean "gradcam"'),
    ("localization", ["locac"], "localization", 'did you mean "locacc"'),
    ("batteries/masking/metrics", ["fait"], "batteries.masking", 'did you mean "faith"'),
    ("batteries/masking/imputers", ["blak"], "batteries.masking", 'did you mean "black"'),
    ("agreement", ["consists"], "agreement", 'did you mean "consist"'),
    ("figures", ["clasification"], "figures", 'did you mean "classification"'),
    ("tables", ["perfomance"], "tables: there is no table perfomance to add", 'did you mean "performance"'),
    ("tables", ["maps"], "tables: there is no table maps to add", ""),
    ("dataset/name", "phantm", "dataset.name", 'did you mean "phantom"'),
    # an option that is wrong
    ("batteries/masking/imputers", {"blur": {"options": {"sgima": 2.0}}}, 'blur has no option "sgima"', "did you mean"),
    ("batteries/masking/imputers", {"blur": {"options": {"sigma": "wide"}}}, 'option "sigma" of blur', "found 'wide'"),
    ("bundles/cams/methods", {"fine": {"use": "refine", "options": {"of": "gradcan"}}}, "cams.methods.fine.options.of: gradcan", "is none of"),
    ("bundles/cams/methods", {"fine": {"use": "refine", "options": {"of": "refine"}}}, "cams.methods.fine.options.of: refine", "is none of"),
    ("bundles/cams/methods", {"gradcam": {"reading": "absolute"}}, "bundles.cams.methods.gradcam.reading: absolute", "no negative values"),
    ("bundles/cams/methods", {"cam": {"reading": "abs"}}, "bundles.cams.methods.cam.reading", "found 'abs'"),
    ("bundles/cams/methods", {"fine": combining("scorecam", chanels=8)}, 'scorecam has no option "chanels"', 'did you mean "channels"'),
    ("bundles/cams/methods", {"fine": combining("scorecam", channels="all")}, 'option "channels" of scorecam', "found 'all'"),
    ("bundles/cams/methods", {"fine": combining("scorecam", channels=-1)}, "fine.options.of_options.channels: scorecam needs", "channels: -1"),
    ("bundles/cams/methods", {"fine": combining("layercam", channels=8)}, 'layercam has no option "channels"', "it has none"),
    ("bundles/cams/methods", {"gradcam": {"only": ["net-c"]}}, "bundles.cams.methods.gradcam.only: net-c", "is not an architecture of the study"),
    ("bundles/cams/methods", {"gradcam": {"score": "odds"}}, "bundles.cams.methods.gradcam.score", "found 'odds'"),
    ("bundles/cams/methods", {"deeplift": {"score": "margin"}}, "bundles.cams.methods.deeplift.score", "deeplift explains logit, not margin"),
    ("explain/precision", "fp8", "explain.precision", "found 'fp8'"),
    ("compute/gpus", 2, "compute.gpus", "less than or equal to 1"),
    ("compute/chunk", "some", "compute.chunk", "found 'some'"),
    ("bundles/cams/methods", {"gradcam": {"options": {"relu": True}}}, 'gradcam has no option "relu"', "it has none"),
    ("dataset/options/patients_per_class", "many", "patients_per_class", "found 'many'"),
    ("bundles/cams/methods", {"refine": {"options": {"combine": "sum"}}}, 'option "combine" of refine', "found 'sum'"),
    ("bundles/cams/methods", {"smoothgrad": {"options": {"noise": float("inf")}}}, 'option "noise" of smoothgrad', "finite number"),
    # values that cannot be
    ("split", {"train": 0.6, "val": 0.2, "test": 0.3}, "split: ", "must add up to 1, found 1.1"),
    ("seeds", [0, 1, 1], "seeds: ", "seeds must differ"),
    ("seeds", [], "seeds: ", "at least 1 item"),
    ("study", "Übung 1", "study: ", "small letters, digits"),
    ("training/epochs", 0, "training.epochs: ", "found 0"),
    ("training/epochs", None, "training.epochs: ", "required"),
    ("image/size", 8, "image.size: ", "found 8"),
    ("image/mean", [0.4, 0.5, 0.6], "image: ", "one number per colour, but `channels` is 1"),
    ("explain/parts", ["tests"], "explain.parts.0: ", "found 'tests'"),
    ("bundles/cams/methods", [{"gradcam": {}}], "bundles.cams.methods: ", "plain names"),
    ("localization", ["locacc", "locacc"], "localization: ", "each once"),
    # what would leave the study's folders, or cannot be kept
    (f"{NET}/timm", "../../../outside/keep", "architectures.net-a.timm: ", "pattern"),
    (f"{NET}/timm", "a/b", "architectures.net-a.timm: ", "pattern"),
    ("study", "a" * 300, "study: ", "at most 64 characters"),
    ("title", "a title\n\\input{/etc/passwd}", "title: ", "one line of visible characters"),
    ("title", "a \u202etitle", "title: ", "'\\u202e'"),
    ("title", "a\u2028title", "title: ", "'\\u2028'"),
    # a label that would be taken for something else, and a text where there should be a label
    ("bundles/cams/methods", {"gradcam": {}, "shuffled-x": {"use": "gradcam"}}, "bundles.cams.methods.shuffled-x", "reserved for shuffled copies"),
    ("batteries/masking/imputers", {"pairs": {"use": "black"}}, "batteries.masking.imputers.pairs", "reserved for a variant"),
    ("batteries/masking/imputers", {"by-area": {"use": "black"}}, "batteries.masking.imputers.by-area", "reserved for a variant"),
    ("figures", {"panels": {"options": {"method": "<script>"}}}, "figures.panels.options.method: '<script>' is not a name", ""),
    ("figures", {"controls": {"options": {"metrics": ["a b"]}}}, "figures.controls.options.metrics: 'a b' is not a name", ""),
    ("seeds", [-1, 0], "seeds.0: ", "found -1"),
    ("seeds", [0, 2**63], "seeds.1: ", "less than 2147483648"),
    ("seed", 2**64, "seed: ", "less than 2147483648"),
    ("image/std", float("inf"), "image.std", "finite number"),
    (f"{NET}/options", {"checkpoint_path": "x.pth"}, "architectures.net-a.options: checkpoint_path", "set by the study itself"),
    (f"{NET}/options", {"pretrained": True}, "architectures.net-a.options: pretrained", "set by the study itself"),
    # contradictions
    ("seeds", [0], "agreement: consist compares models of several seeds", "seeds is [0]"),
    ("across", ["architecture"], "across", "'architectures', 'ensemble' or 'localization'"),
    ("across", ["ensemble", "ensemble"], "across: each once", ""),
    ("primary/metric", "locac", "primary.metric: locac is not one of", 'did you mean "locacc"'),
    ("statistics/equivalence_margin", {"locac": 0.1}, "statistics.equivalence_margin: locac is not one of", 'did you mean "locacc"'),
    ("statistics/equivalence_margin", {"locacc": 0}, "statistics.equivalence_margin.locacc: ", "greater than 0"),
    ("statistics/seed_variance", "shared", "statistics.seed_variance: ", "'own' or 'pooled'"),
    ("primary/method", "gradcm", "primary.method: gradcm is not one of", 'did you mean "gradcam"'),
    ("primary/against", "shuffled-centre", "primary.against: shuffled-centre is not one of", ""),
    ("bundles/more", {"methods": ["gradcam"]}, "bundles: the label gradcam is used twice", ""),
    ("bundles/cams/methods", {"gradcam": {}, "centre": {"use": "gradcam"}}, "the label centre is used twice, or is the name of a control", ""),
    ("bundles/controls", {"methods": {"x": {"use": "gradcam"}}}, "bundles.controls: this name is reserved", ""),
    ("batteries/again", {"metrics": ["faith"], "imputers": ["black"]}, "metrics: the label faith is used twice", ""),
    ("bundles/cams/methods", {"gradcam": {"layer": {"net-z": "layer3"}}}, "bundles.cams.methods.gradcam.layer: net-z is not an architecture", ""),
    ("training/accumulate", 17, "training: accumulate: 17 pieces of a batch of 16", ""),
    ("training/precision", "fp8", "training.precision: ", "found 'fp8'"),
    ("training/freeze", -1, "training.freeze: ", "found -1"),
    ("training/ema", 1.0, "training.ema: ", "found 1.0"),
    ("training/freeze", 2, "training.freeze: 2 would keep random weights, because net-a, net-b has no pretrained weights", ""),
    ("training/freeze", "backbone", "training.freeze: backbone would keep random weights", ""),
    (f"{NET}/decoder", {"loss": "mae"}, "architectures.net-a.decoder.loss", "'bce' or 'mse'"),
    (f"{NET}/decoder", {"weight": -1}, "architectures.net-a.decoder.weight: ", "found -1"),
    ("training", "none", "architectures.net-a.weights: `training: none` needs a weight file", "architectures.net-b.weights"),
]  # fmt: skip

SAMPLES = "samples >= 2 * segments or allow_underdetermined"
# where, which file, its options, what it needs, what was found
BEYOND = [
    ("bundles/cams/methods", "integrated_gradients", {"steps": 0}, "steps >= 1", "steps: 0"),
    ("bundles/cams/methods", "smoothgrad", {"samples": 0}, "samples >= 1", "samples: 0"),
    ("bundles/cams/methods", "smoothgrad", {"noise": -0.1}, "noise >= 0", "noise: -0.1"),
    ("bundles/cams/methods", "scorecam", {"channels": -1}, "channels >= 0", "channels: -1"),
    ("bundles/cams/methods", "lime", {"segments": 60, "samples": 119}, SAMPLES, "samples: 119, segments: 60, allow_underdetermined: False"),
    ("bundles/cams/methods", "lime", {"ridge": -1}, "ridge >= 0", "ridge: -1.0"),
    ("bundles/cams/methods", "kernel_shap", {"segments": 2}, "segments >= 3", "segments: 2"),
    ("bundles/cams/methods", "occlusion", {"window": 65}, "0 < window <= size", "window: 65.0, size: 64"),
    ("bundles/cams/methods", "occlusion", {"stride": 0}, "0 < stride <= size", "stride: 0.0, size: 64"),
    ("bundles/cams/methods", "lrp", {"gamma": -1}, "gamma >= 0", "gamma: -1.0"),
    ("batteries/masking/imputers", "blur", {"sigma": 0}, "sigma > 0", "sigma: 0.0"),
    ("batteries/masking/imputers", "noisy_linear", {"tolerance": 0}, "0 < tolerance < 1", "tolerance: 0.0"),
    ("batteries/masking/metrics", "deletion", {"steps": 0}, "steps >= 1", "steps: 0"),
    ("batteries/masking/metrics", "road", {"shares": [0.5, 1.0]}, "0 < shares < 1", "shares: (0.5, 1.0)"),
    ("batteries/masking/metrics", "road", {"shares": []}, "0 < shares < 1", "shares: ()"),
    ("localization", "locacc", {"threshold": 0}, "0 < threshold <= 1", "threshold: 0.0"),
    ("agreement", "consist", {"threshold": 1.5}, "0 < threshold <= 1", "threshold: 1.5"),
    ("figures", "panels", {"seed_rank": 2}, "0 <= seed_rank < seeds", "seed_rank: 2, seeds: 2"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "said", "meant"), REFUSED)
def test_it_is_refused_with_its_path(
    tiny: dict[str, Any], root: Path, path: str, value: Any, said: str, meant: str
) -> None:
    found = refusal(put(tiny, path, value), root).problem
    assert said in found
    assert meant in found


@pytest.mark.parametrize(("path", "name", "options", "needed", "beyond"), BEYOND)
def test_an_option_that_nothing_can_be_computed_with_is_refused_by_its_key(
    tiny: dict[str, Any], root: Path, path: str, name: str, options: dict[str, Any], needed: str, beyond: str
) -> None:
    found = refusal(put(tiny, path, {"mine": {"use": name, "options": options}}), root).problem
    key = f"{path.replace('/', '.')}.mine.options.{beyond.partition(':')[0]}"
    assert f"{key}: {name} needs {needed}, found {beyond}" in found


def test_all_slips_are_told_at_once(tiny: dict[str, Any], root: Path) -> None:
    found = refusal(put(put(tiny, "splitt", {}), "image/size", 8), root).problem
    assert "splitt" in found
    assert "image.size" in found


def test_only_the_branch_that_was_meant_is_told(tiny: dict[str, Any], root: Path) -> None:
    found = refusal(put(put(tiny, "training/epoch", 3), "image/mean", "trn"), root).problem
    assert "should be 'none'" not in found
    assert "constrained" not in found


def test_localization_without_evidence_is_refused(tiny: dict[str, Any], root: Path) -> None:
    found = refusal(put(tiny, "dataset", {"name": "iqothnccd"}), root).problem
    assert "localization: locacc, saliency_score, iou_area_matched compares maps with evidence" in found
    assert "(evidence: none)" in found


@pytest.mark.parametrize(
    ("evidence", "said"), [("none", "has none"), ("point", "has points"), ("parts", ""), ("box", "")]
)
def test_regions_are_taken_away_only_where_there_is_evidence_with_an_extent(
    tiny: dict[str, Any], tmp_path: Path, evidence: str, said: str
) -> None:
    card = tmp_path / "config/datasets/mine.yaml"
    card.parent.mkdir(parents=True)
    card.write_text(f"{{title: t, reader: folder, raw: x, classes: [a, b], licence: mine, evidence: {evidence}}}")
    study = put(tiny, "dataset", {"name": "mine"}) | {"localization": []}
    study["batteries"]["regions"] = {"metrics": ["region_correctness", "contrastivity"], "imputers": ["black"]}
    study["primary"] = {"metric": "faith", "method": "gradcam", "against": "random-grid"}
    if said:
        found = refusal(study, tmp_path).problem
        assert (
            f"batteries.regions.metrics: region_correctness removes regions of evidence, but dataset mine {said}"
            in found
        )
        assert "contrastivity removes regions" in found
        assert "faith takes" not in found
    else:
        assert Plan.read(study, tmp_path).dataset.evidence == evidence
        found = refusal(study | {"explain": {"only_correct": True}}, tmp_path).problem
        assert "batteries.regions.metrics: contrastivity compares maps of the predicted and the true class" in found
        assert "region_correctness" not in found


@pytest.mark.parametrize("evidence", ["mask", "parts"])
def test_images_without_parts_need_a_dataset_of_parts(tiny: dict[str, Any], tmp_path: Path, evidence: str) -> None:
    card = tmp_path / "config/datasets/mine.yaml"
    card.parent.mkdir(parents=True)
    card.write_text(f"{{title: t, reader: folder, raw: x, classes: [a, b], licence: mine, evidence: {evidence}}}")
    study = put(tiny, "dataset", {"name": "mine"}) | {"localization": []}
    parts = ["funnybirds_completeness", "funnybirds_correctness", "funnybirds_contrastivity"]
    study["batteries"]["parts"] = {"metrics": parts}
    study["composite"], study["explain"] = ["funnybirds_score"], {"only_correct": True}
    study["primary"] = {"metric": "funnybirds_score", "method": "gradcam", "against": "random-grid"}
    if evidence == "parts":
        plan = Plan.read(study, tmp_path)
        assert RuleParams(plan).explain("net-a", "cams")["contrast"]
        assert RuleParams(plan).merge_scores()["composites"]["funnybirds_score"]["variants"] == [""]
    else:
        found = refusal(study, tmp_path).problem
        assert (
            "funnybirds_correctness reads a dataset's images without parts, but the evidence of dataset mine is mask"
            in found
        )
    study["batteries"]["parts"] = {"metrics": parts, "imputers": ["black"]}
    assert "would be used by none of funnybirds_completeness" in refusal(study, tmp_path).problem


def test_a_metric_without_any_of_its_variants_is_refused(tiny: dict[str, Any], root: Path) -> None:
    found = refusal(put(tiny, "localization", {"iou": {"options": {"thresholds": []}}}), root).problem
    assert "localization.iou.options.thresholds: it is empty" in found


@pytest.mark.parametrize(
    ("evidence", "metrics", "said"),
    [
        (
            "point",
            ["iou", "roc_auc"],
            "localization: iou needs evidence mask or box or parts, but the evidence of dataset mine is point",
        ),
        ("point", ["pointing_game", "roc_auc"], ""),
        ("box", ["iou", "average_precision", "pointing_game"], ""),
        ("parts", ["topk_overlap"], ""),
        ("none", ["border_share", "outside_body_share", "shortcut_share"], ""),
        ("none", ["border_share", "iou"], "localization: iou compares maps with evidence, but dataset mine has none"),
    ],
)
def test_a_metric_is_asked_only_of_evidence_it_can_read(
    tiny: dict[str, Any], tmp_path: Path, evidence: str, metrics: list[str], said: str
) -> None:
    card = tmp_path / "config/datasets/mine.yaml"
    card.parent.mkdir(parents=True)
    card.write_text(f"{{title: t, reader: folder, raw: x, classes: [a, b], licence: mine, evidence: {evidence}}}")
    study = put(tiny, "dataset", {"name": "mine"}) | {"localization": metrics}
    study["primary"] = {"metric": "faith", "method": "gradcam", "against": "random-grid"}
    if said:
        found = refusal(study, tmp_path).problem
        assert said in found
        assert "localization: roc_auc" not in found
        assert "border_share" not in found
    else:
        assert Plan.read(study, tmp_path).dataset.evidence == evidence


def test_a_dataset_of_an_unknown_reader_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    card = tmp_path / "config/datasets/mine.yaml"
    card.parent.mkdir(parents=True)
    card.write_text("{title: t, reader: foldr, classes: [a, b], licence: mine}")
    found = refusal(put(tiny, "dataset", {"name": "mine"}), tmp_path).problem
    assert "config/datasets/mine.yaml: reader: " in found
    assert 'did you mean "folder"' in found
    for text, said in [
        ("{}", "reader: Field required"),
        ("", "cannot be read as a dataset: it is not a mapping of keys"),
        ("[folder]", "cannot be read as a dataset: it is not a mapping of keys"),
        ("title: t\ntitle: u\n", "cannot be read as a dataset: the key title occurs twice"),
        ("title: [", "cannot be read as a dataset: while parsing"),
    ]:
        card.write_text(text)
        assert said in refusal(tiny, tmp_path).problem


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "macro"], '"macro" is the average over all classes'),
        (["a", "a"], "classes: each once, found a, a"),
        (["", "b"], "classes.0: "),
        (["a", "b\n.. raw:: html"], "classes.1: one line of visible characters"),
        (["</script><script>alert(1)</script>", "$x_1^2$ & {{ 7*7 }} | `c`"], ""),
    ],
)
def test_names_of_classes_are_texts_on_one_line(
    tiny: dict[str, Any], tmp_path: Path, classes: list[str], said: str
) -> None:
    card = tmp_path / "config/datasets/mine.yaml"
    card.parent.mkdir(parents=True)
    known = {"title": "t", "reader": "folder", "raw": "x", "licence": "mine", "evidence": "mask"}
    card.write_text(json.dumps(known | {"classes": classes}))
    study = put(tiny, "dataset", {"name": "mine"})
    if said:
        assert said in refusal(study, tmp_path).problem
    else:
        assert Plan.read(study, tmp_path).dataset.classes == classes


def test_a_shuffled_copy_of_the_longest_label_can_be_named_as_primary(tiny: dict[str, Any], root: Path) -> None:
    label = "m" * 64
    study = put(tiny, "bundles/cams/methods", {label: {"use": "gradcam"}})
    study["primary"] = {"metric": "locacc", "method": label, "against": f"shuffled-{label}"}
    assert Plan.read(study, root).study.primary.against == f"shuffled-{label}"


def test_weights_taken_as_they_are_need_no_recipe(tiny: dict[str, Any], root: Path) -> None:
    tiny["training"] = "none"
    for arch in tiny["architectures"].values():
        arch["weights"] = "resources/mine.safetensors"
    with pytest.raises(StudyInvalid, match=r"would have the same weights"):
        Plan.read(tiny, root)
    plan = Plan.read(tiny | {"seeds": [0], "agreement": []}, root)
    assert plan.starting_weights("net-a") == "resources/mine.safetensors"
    assert plan.training_threads == 1


def test_defaults_are_filled_in_and_a_label_may_rename_a_method(tiny: dict[str, Any], root: Path) -> None:
    tiny["bundles"]["cams"]["methods"] = {"gradcam": None, "early": {"use": "gradcam", "layer": {"net-a": "layer3"}}}
    tiny["batteries"]["masking"]["imputers"] = {"wide": {"use": "blur"}}
    study = Plan.read(tiny, root).study
    assert {label: use.use for label, use in study.bundles["cams"].methods.items()} == {
        "gradcam": "gradcam",
        "early": "gradcam",
    }
    assert set(study.batteries["masking"].imputers["wide"].options) == {"sigma"}
    assert study.split.tolerance == 0.1


def test_too_few_samples_are_taken_where_they_are_asked_for_and_a_window_may_fill_the_image(
    tiny: dict[str, Any], root: Path
) -> None:
    few = {"segments": 60, "samples": 119, "allow_underdetermined": True}
    tiny["bundles"]["cams"]["methods"] = {
        "gradcam": {},
        "lime": {"options": few},
        "occlusion": {"options": {"window": 64}},
    }
    assert "lime" in Plan.read(tiny, root).map_labels


NET_A = {"net-a": {"timm": "test_resnet.r160_in1k"}}
ALONE = {"seeds": [0], "agreement": ["consist"], "across": ["architectures"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agreement": [], "across": ["architectures"]}, "across: it uses the metrics of `agreement`"),
        ({"localization": [], "across": ["localization"]}, "across: `localization` uses the metrics of this key"),
        (
            {"architectures": NET_A, "across": ["architectures"]},
            "across: it compares architectures, but the study has only net-a",
        ),
        ({"architectures": NET_A, "across": ["ensemble"]}, "an ensemble leaves one model out and needs two others"),
        (
            {"architectures": NET_A | {"ensemble": {}}, "across": ["ensemble"]},
            "architectures.ensemble: this name is reserved",
        ),
        (
            ALONE | {"primary": {"metric": "consist", "method": "gradcam", "against": "centre"}},
            "compares models of several seeds",
        ),
    ],
)
def test_what_cannot_be_compared_across_is_refused(
    tiny: dict[str, Any], root: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(tiny | changes, root).problem


def test_one_seed_of_several_architectures_can_be_compared_across_alone(tiny: dict[str, Any], root: Path) -> None:
    tables = [path for path in Plan.read(tiny | ALONE, root).score_tables() if "across" in path]
    assert tables == ["results/tiny/scores/across.parquet"]
