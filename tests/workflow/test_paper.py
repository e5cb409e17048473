"""The paper's study from real slices to its last table, with two small networks and two epochs: every rule runs, no number means anything."""

import json

import pandas as pd
import pytest
import yaml
from workspace import ROOT, Workspace, plant

pytestmark = [pytest.mark.xdist_group("paper"), pytest.mark.end_to_end]
MINI = ROOT.parent / "shared/data/iqothnccd-mini"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    if not MINI.is_dir():
        pytest.skip("no miniature of IQ-OTH/NCCD lies beside the repository")
    workspace = plant(tmp_path_factory.mktemp("paper"))
    document = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text())
    document |= {
        "dataset": {"name": "iqothnccd", "source": str(MINI)},
        "image": {"size": 64},
        "split": document["split"] | {"tolerance": 0.4},
        "architectures": {
            "net-a": {"timm": "test_resnet.r160_in1k", "options": {"output_stride": 8}},
            "net-b": {"timm": "test_vit.r160_in1k", "options": {"img_size": 64, "patch_size": 8}},
        },
        "seeds": [0],
        "across": ["architectures"],  # one seed: architectures are all that can be compared
        "training": {"epochs": 2, "batch": 16, "lr": 1.0e-3, "group_weights": True, "max_slices_per_group": 8},
        "compute": {"device": "cpu"},
    }
    (workspace.folder / "tiny.yaml").write_text(yaml.safe_dump(document))
    workspace.snakemake("--cores", "2")
    return workspace


def test_localization_without_evidence_is_undefined_and_never_a_number(smoke: Workspace) -> None:
    table = pd.read_csv(smoke.folder / "results/paper/tables/maps.csv")
    own = table[table["metric"] == "locacc"]
    assert {"gradcam", "random-grid", "shuffled-gradcam"} <= set(own["method"])
    assert own["value"].isna().all()
    assert own["reason"].str.startswith("undefined: the dataset has no masks").all()
    assert "undefined" in (smoke.folder / "results/paper/tables/maps.md").read_text()


def test_the_doubly_filed_scan_is_one_group_and_on_the_audit_s_list(smoke: Workspace) -> None:
    manifest = pd.read_parquet(smoke.folder / "results/paper/data/manifest.parquet")
    assert len(manifest) == 77
    assert set(manifest["group_kind"]) == {"inferred"}
    number = manifest["file"].str.extract(r"\((\d+)\)")[0].astype(int)
    twice = ((manifest["label"] == "benign") & number.between(30, 34)) | (
        (manifest["label"] == "normal") & number.between(81, 87)
    )
    assert twice.sum() >= 4
    assert manifest.loc[twice, "group"].nunique() == 1
    audit = json.loads((smoke.folder / "results/paper/data/audit.json").read_text())
    assert audit["near_duplicates"]["pairs_across_classes"] >= 1
    assert audit["duplicates"]["sets"] >= 5
    assert audit["near_duplicates"]["pairs_across_parts"] == 0
    assert audit["inferred"]["spread"]["settings"] == 36


def test_a_finished_study_has_nothing_to_do_and_a_figure_of_the_audit(smoke: Workspace) -> None:
    assert smoke.planned() == {}
    assert (smoke.folder / "results/paper/figures/audit.svg").stat().st_size > 10_000


def test_a_slice_split_goes_on_only_where_it_is_allowed_and_is_marked(smoke: Workspace) -> None:
    path = smoke.folder / "tiny.yaml"
    document = yaml.safe_load(path.read_text()) | {"study": "leaky"}
    document["split"] = {"by": "slice", "tolerance": 0.4}
    path.write_text(yaml.safe_dump(document))
    refused = smoke.snakemake("-n", check=False)
    assert refused.returncode != 0
    assert "allow_leaky_split" in refused.stdout + refused.stderr
    document["split"]["allow_leaky_split"] = True
    document["architectures"].pop("net-b")
    document |= {"agreement": [], "across": []}
    path.write_text(yaml.safe_dump(document))
    smoke.snakemake("--cores", "2", "figure_confusion")
    assert "LEAKY SPLIT" in (smoke.folder / "results/leaky/figures/confusion.svg").read_text()


def test_a_split_above_the_limit_stops_before_anything_is_trained(smoke: Workspace) -> None:
    path = smoke.folder / "tiny.yaml"
    document = yaml.safe_load(path.read_text()) | {"study": "strict"}
    document["split"] = {"by": "group", "tolerance": 0.4, "leak_limit": 0.0}
    path.write_text(yaml.safe_dump(document))
    stopped = smoke.snakemake("--cores", "2", check=False)
    assert stopped.returncode != 0
    assert "LeakySplit" in stopped.stdout + stopped.stderr
    assert not (smoke.folder / "results/strict/models").exists()
    assert (smoke.folder / "results/strict/data/audit.json").exists()
