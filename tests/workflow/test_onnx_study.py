"""A study of an ONNX file, from the YAML file to the tables; another file makes it stale."""

import shutil

import pandas as pd
import pytest
import yaml
from onnx_files import export, small_network
from workspace import ROOT, TINY, Workspace

pytestmark = pytest.mark.end_to_end


def test_an_onnx_file_is_measured_as_a_black_box(fresh: Workspace) -> None:
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    (fresh.folder / "nets").mkdir()
    export(small_network(), fresh.folder / "nets/box.onnx", size=64)
    document = yaml.safe_load((ROOT / "tests/workflow" / TINY).read_text()) | {
        "architectures": {"box": {"onnx": "nets/box.onnx"}},
        "bundles": {"answers": {"methods": {"rise": {"options": {"masks": 20}}, "occlusion": {"options": {"stride": 0.125}}}}},
        "batteries": {"masking": {"metrics": ["faith"], "imputers": ["black"]}},
        "image": {"size": 64, "mean": 0.4, "std": 0.2},
        "split": {"train": 0, "val": 0, "test": 1},
        "explain": {"max_images": 9},
        "training": "none", "seeds": [0], "agreement": [], "localization": ["saliency_score"],
        "primary": {"metric": "faith", "method": "rise", "against": "random-grid"},
        "figures": ["controls"],
    }  # fmt: skip
    (fresh.folder / TINY).write_text(yaml.safe_dump(document, sort_keys=False))
    fresh.snakemake("--cores", "2")
    assert fresh.planned() == {}
    scores = pd.read_parquet(fresh.results / "scores.parquet")
    for method in ("rise", "occlusion"):
        found = scores[(scores["method"] == method) & (scores["metric"] == "faith")]
        assert len(found) >= 9
        assert found["value"].abs().max() > 0
    assert "box" in (fresh.results / "tables/maps.md").read_text()
    shutil.copy(export(small_network().append(small_network().head.__class__(3, 3)), fresh.folder / "other.onnx", size=64),
                fresh.folder / "nets/box.onnx")  # fmt: skip
    assert fresh.planned()["train"] == 1
