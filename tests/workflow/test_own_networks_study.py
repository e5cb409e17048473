"""Networks that are not timm's in a study: trained here, and taken as they are, from the YAML file to the report's tables."""

import json

import pandas as pd
import pytest
import yaml
from workspace import ROOT, TINY, Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("own_networks")]

TRUST = ("--config", "trust_code=1")
NETWORKS = {
    "torchvision": {"module": "torchvision.models:resnet18", "options": {"num_classes": 3}},
    "monai": {
        "module": "monai.networks.nets:DenseNet121",
        "options": {"spatial_dims": 2, "in_channels": 3, "out_channels": 3, "block_config": [2, 2, 2, 2]},
    },
}
OWN_CODE = '''"""A hospital's own network."""

from torch import nn


def build(outputs):
    """Return a network with a decided weight."""
    net = nn.Sequential()
    net.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
    net.pool, net.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(8, outputs)
    return net
'''


def write(space: Workspace, **changes: object) -> None:
    document = yaml.safe_load((ROOT / "tests/workflow" / TINY).read_text())
    (space.folder / TINY).write_text(yaml.safe_dump(document | {"seeds": [0]} | changes, sort_keys=False))


@pytest.mark.slow  # two studies, minutes; the next test runs one, with code of one's own
def test_networks_of_torchvision_and_monai_are_trained_and_judged_and_then_taken_as_they_are(fresh: Workspace) -> None:
    pytest.importorskip("monai", reason="the package MONAI is not installed")
    image = {"size": 64, "mean": 0.4, "std": 0.2}
    write(fresh, architectures=NETWORKS, agreement=[], image=image)
    refused = fresh.snakemake("-n", check=False)
    assert refused.returncode != 0
    assert "CodeNotTrusted: the network torchvision.models:resnet18" in refused.stdout + refused.stderr
    fresh.snakemake("--cores", "2", *TRUST)
    assert fresh.planned(*TRUST) == {}
    layers = {"torchvision": "layer4", "monai": "features"}
    for arch, network in NETWORKS.items():
        card = json.loads((fresh.results / f"models/{arch}/seed-0/card.json").read_text())
        assert (card["spec"]["module"], card["spec"]["timm"]) == (network["module"], "")
        assert arch in (fresh.results / "tables/maps.md").read_text()
        assert layers[arch] in (fresh.folder / "results/tiny/scores.parquet").read_bytes().decode("latin-1")
    file = "results/tiny/models/{}/seed-0/weights.safetensors"
    taken = {arch: network | {"weights": file.format(arch)} for arch, network in NETWORKS.items()}
    write(fresh, study="taken", architectures=taken, training="none", agreement=[], image=image, figures=["controls"],
          split={"train": 0, "val": 0, "test": 1}, explain={"max_images": 8})  # fmt: skip
    fresh.snakemake("--cores", "2", *TRUST)
    logits = [f"logit_{name}" for name in ("normal", "benign", "malignant")]
    for arch in NETWORKS:
        trained, own = (
            pd.read_parquet(fresh.folder / f"results/{study}/predictions/{arch}/seed-0.parquet").set_index("image_id")
            for study in ("tiny", "taken")
        )
        pd.testing.assert_frame_equal(own[logits], trained.loc[own.index, logits], rtol=1e-4, atol=1e-4)
        assert arch in (fresh.results / "tables/maps.md").read_text()


def test_one_s_own_code_is_taken_as_it_is_and_a_change_makes_it_stale(fresh: Workspace) -> None:
    (fresh.folder / "hospital_nets.py").write_text(OWN_CODE)
    ours = {"ours": {"module": "hospital_nets:build", "options": {"outputs": 3}}}
    image = {"size": 64, "mean": 0.4, "std": 0.2}
    write(fresh, architectures=ours, training="none", agreement=[], image=image,
          split={"train": 0, "val": 0, "test": 1})  # fmt: skip
    fresh.snakemake("--cores", "2", *TRUST)
    assert fresh.planned(*TRUST) == {}
    assert "ours" in (fresh.results / "tables/classification.md").read_text()
    fresh.edit("hospital_nets.py", "own network.", "own small network.")
    assert fresh.planned(*TRUST) == {}
    fresh.edit("hospital_nets.py", "nn.Conv2d(8, 8, 3, 2, 1)", "nn.Conv2d(8, 8, 5, 2, 2)")
    assert fresh.planned(*TRUST)["train"] == 1


def test_a_study_s_file_cannot_allow_its_own_code(fresh: Workspace) -> None:
    (fresh.folder / "hospital_nets.py").write_text("open('imported', 'w').close()\n" + OWN_CODE)
    write(fresh, architectures={"ours": {"module": "hospital_nets:build"}}, trust_code=1)
    refused = fresh.snakemake("-n", check=False)
    assert "trust_code" in refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert not (fresh.folder / "imported").exists()
