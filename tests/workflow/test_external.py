"""Models that this study did not train: another study's on other images, and a classifier of one's own with other outputs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from scipy.special import logsumexp
from workspace import ROOT, TINY, Workspace, plant

from gradfaith.models.timm_import import timm
from gradfaith.storage.hdf5 import ImageStore

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("external")]

CLASSES = ["normal", "benign", "malignant"]
MODEL = "net-a/seed-0"
SMALL = {"size": 48, "patients_per_class": 5, "slices_per_patient": 2, "difficulty": 0.0, "seed": 9}


def own(document: dict, **changes: object) -> dict:
    """What a study says beside its models: the least that makes a table."""
    kept = ("bundles", "primary", "statistics")
    said = {
        "dataset": {"name": "phantom", "options": SMALL},
        "localization": ["saliency_score"],
        "figures": ["confusion"],
    }
    return {key: document[key] for key in kept} | said | changes


def write(space: Workspace, document: dict) -> None:
    (space.folder / "tiny.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.fixture(scope="module")
def tiny() -> dict:
    """The tiny study with one model."""
    document = yaml.safe_load((ROOT / "tests/workflow" / TINY).read_text())
    few = {"architectures": {"net-a": document["architectures"]["net-a"]}, "seeds": [0], "agreement": []}
    return document | few


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory, tiny: dict) -> Workspace:
    """A tiny study, trained; then its model asked about another, smaller population by a study of its own."""
    space = plant(tmp_path_factory.mktemp("external"))
    (space.folder / "config/studies/tiny.yaml").write_text(yaml.safe_dump(tiny, sort_keys=False))
    write(space, own(tiny, study="outside", external="tiny"))
    early = space.snakemake("-n", check=False)
    assert early.returncode != 0
    assert "of study tiny there is no results/tiny/data/manifest.parquet" in early.stdout + early.stderr
    write(space, tiny)
    space.snakemake("--cores", "2", f"results/tiny/predictions/{MODEL}.parquet")
    write(space, own(tiny, study="outside", external="tiny"))
    space.snakemake("--cores", "2")
    return space


def test_another_study_s_model_is_asked_and_nothing_is_trained(outside: Workspace) -> None:
    assert outside.planned() == {}
    assert [path.name for path in (outside.folder / f"results/outside/models/{MODEL}").iterdir()] == ["card.json"]
    theirs, ours = (
        json.loads((outside.folder / f"results/{study}/models/{MODEL}/card.json").read_text())
        for study in ("tiny", "outside")
    )
    assert ours["spec"] == theirs["spec"]
    assert (ours["external"], ours["weights_sha256"]) == ("tiny", theirs["weights_sha256"])
    fitted, found = (
        pd.read_parquet(outside.folder / f"results/{study}/predictions/{MODEL}.parquet")
        for study in ("tiny", "outside")
    )
    assert set(found["part"]) == {"test"}
    assert len(found) == 30
    assert set(found["temperature"]) == set(fitted["temperature"]) != {1.0}


def test_what_is_said_of_it_is_said_of_models_that_were_trained_elsewhere(outside: Workspace) -> None:
    results = outside.folder / "results/outside"
    for table in ("classification", "maps"):
        assert "the models are those of study tiny" in (results / f"tables/{table}.md").read_text()
    audit = json.loads((results / "data/audit.json").read_text())
    assert audit["leakage"] == {
        "reason": "this study trained no model on these images", "this": None, "random": [], "groups": []
    }  # fmt: skip
    assert audit["seen_before"] == {"study": "tiny", "images": 0, "list": []}
    assert json.loads((results / "data/leakage.json").read_text())["leaky"] is False
    page = (results / "figures/audit.svg").read_text()
    assert "Not measured" in page
    about = json.loads((results / "provenance.json").read_text())
    assert about["models"][0]["external"] == "tiny"
    assert about["splits"].keys() == {"test"}
    assert "train" not in about["code"]


def test_the_study_it_comes_from_is_not_made_stale(outside: Workspace, tiny: dict) -> None:
    write(outside, tiny)
    assert outside.planned(f"results/tiny/predictions/{MODEL}.parquet") == {}


def test_a_classifier_with_other_outputs_answers_through_a_class_map(outside: Workspace, tiny: dict) -> None:
    whole = _random_classifier(outside.folder / "mine.safetensors")
    architecture = tiny["architectures"]["net-a"] | {"weights": "mine.safetensors"}
    study = own(
        tiny, study="mine", image=tiny["image"] | {"mean": 0.4, "std": 0.2}, seeds=[0], training="none", architectures={"net-a": architecture},
        split={"train": 0, "val": 0, "test": 1}, class_map={"malignant": [4, 0], "normal": [1], "benign": [3]},
    )  # fmt: skip
    write(outside, study)
    outside.snakemake("--cores", "2", f"results/mine/maps/{MODEL}/cams.h5")
    spec = json.loads((outside.folder / f"results/mine/models/{MODEL}/card.json").read_text())["spec"]
    assert (spec["classes"], spec["class_map"]) == (5, [[1], [3], [4, 0]])
    found = pd.read_parquet(outside.folder / f"results/mine/predictions/{MODEL}.parquet")
    with ImageStore(outside.folder / "results/mine/data/images.h5") as images:
        outputs = whole((images.pixels(list(found["image_id"])) / 255 - 0.4) / 0.2)
    for name, mapped in (("normal", [1]), ("benign", [3]), ("malignant", [4, 0])):
        np.testing.assert_allclose(found[f"logit_{name}"], logsumexp(outputs[:, mapped], axis=1), atol=1e-4)
    logits = found[[f"logit_{name}" for name in CLASSES]].to_numpy()
    assert (np.array(CLASSES)[logits.argmax(axis=1)] == found["predicted"]).all()
    write(outside, study | {"class_map": {"malignant": [5], "normal": [1], "benign": [3]}})
    refused = outside.snakemake("--cores", "2", f"results/mine/models/{MODEL}/card.json", check=False)
    said = "class_map.malignant: output 5 does not exist; the head in mine.safetensors has outputs 0 to 4"
    assert said in refused.stdout + refused.stderr


def _random_classifier(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A file of random weights with five outputs, and what the network answers, by timm alone."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = timm.create_model("test_resnet.r160_in1k", num_classes=5, output_stride=8).eval()
    save_file(net.state_dict(), path)

    def answer(grey: np.ndarray) -> np.ndarray:  # (n, 1, h, w) -> (n, 5)
        with torch.inference_mode():
            return net(torch.from_numpy(grey).float().expand(-1, 3, -1, -1)).numpy()

    return answer
