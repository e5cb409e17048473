"""The localization runner and its job: a status for every map, the same numbers in any chunk, every row where it belongs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joined_tables import joined

from gradfaith import registry
from gradfaith.errors import MaskSizeMismatch
from gradfaith.metrics.contract import BoundPlugins, Result
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.maps.located import Located, Region
from gradfaith.metrics.runners.localization import localize
from gradfaith.scoring import localization, score_rows
from gradfaith.stats.estimates import estimate_scores, lesion_size
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

EVERY: BoundPlugins = {name: (registry.load("localization", name), {}) for name in registry.names("localization")}
REGIONS = ("evidence", "shortcut", "body")


def run(maps: np.ndarray, masks: dict[str, np.ndarray], **how: object) -> dict[tuple[str, str], Result]:
    size = next(iter(masks.values())).shape[1:]
    regions = {name: Region(mask) for name, mask in masks.items()}
    return localize(
        maps, **{"grid": "input", "signed": False, "size": size, "regions": regions, "metrics": EVERY} | how
    )


def test_every_map_gets_a_status_and_a_reason_from_every_metric():
    rng = np.random.default_rng(3)
    maps, masks = rng.random((5, 6, 6)), rng.random((5, 6, 6)) < 0.4
    maps[1], maps[2, 0, 0] = 0.7, np.nan
    masks[:, 0, :2], masks[3] = True, False
    found = run(maps, {"evidence": masks, "body": masks})
    result = found["saliency_score", ""]
    assert result.status.tolist() == ["ok", "degenerate", "failed", "undefined", "ok"]
    assert result.reason.tolist()[1:3] == ["the map is constant", "the map is not finite"]
    assert np.isnan(result.value[1:4]).all()
    for (name, _), one in found.items():
        region = EVERY[name][0].METRIC.region
        assert one.status[1:3].tolist() == ["degenerate", "failed"]
        assert np.isnan(one.value[one.status != "ok"]).all()
        assert all(bool(reason) == (status != "ok") for status, reason in zip(one.status, one.reason, strict=True))
        empty = "ok" if name.endswith("literature") or not region else "undefined"
        assert one.status[3] == empty
    assert found["shortcut_lift", ""].reason[0] == "this image has no shortcut"


def test_every_metric_agrees_with_one_map_at_a_time():
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(10, 4, 4)).astype(np.float32)
    maps[5] = 0
    masks = {name: rng.random((10, 12, 15)) < 0.2 for name in REGIONS}
    together = run(maps, masks, grid="native", signed=True)
    for name, (module, _) in EVERY.items():
        mask = masks[module.METRIC.region or "body"]
        for row in range(10):
            one = evaluate(maps[row : row + 1], grid="native", signed=True, size=(12, 15))
            alone = module.score(Located.from_maps(one.unit, mask[row : row + 1]))
            for variant, values in (alone if isinstance(alone, dict) else {"": alone}).items():
                status = "degenerate" if row == 5 else "ok"
                assert together[name, variant].status[row] == status
                assert row == 5 or together[name, variant].value[row] == values.value[0]


def test_masks_of_another_size_are_refused():
    with pytest.raises(MaskSizeMismatch, match="evidence"):
        run(np.zeros((1, 4, 4)), {"evidence": np.zeros((1, 3, 4), dtype=bool)}, size=(4, 4))


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, images_file: Path, predictions: pd.DataFrame) -> Path:
    """A store of two methods: of the predicted class, of the true class, of both; one map constant, one not finite."""
    path, rng = tmp_path_factory.mktemp("cell") / "cams.h5", np.random.default_rng(7)
    test = predictions[predictions["part"] == "test"]
    both = [(row.image_id, 0, "both") for row in test.itertuples() if row.correct]
    split = [(row.image_id, 0, role) for row in test.itertuples() if not row.correct for role in ("predicted", "true")]
    table = pd.DataFrame(both + split, columns=["image_id", "target", "role"])
    coarse = rng.normal(size=(len(table), 2, 4, 4)).astype(np.float32)
    fine = rng.random((len(table), 1, 32, 32)).astype(np.float32)
    coarse[1, 0], fine[2, 0, 0, 0] = -1, np.inf
    with MapWriter(path, table, {}) as writer:
        writer.put("coarse", MapInfo("gradcam", "layer4", "native", True, 2), 0, coarse, 1.0)
        writer.put("fine", MapInfo("saliency", "", "input", False, 1), 0, fine, 1.0)
    return path


def scored(cell: Path, images_file: Path, predictions: pd.DataFrame, chunk: int = 64) -> pd.DataFrame:
    with ImageStore(images_file) as images, MapStore(cell) as maps:
        tables = localization.score_localization(images, [maps], predictions, EVERY, {"arch": "net", "seed": 1}, chunk)
        return joined(tables)


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_any_chunk_gives_the_same_rows(cell, images_file, predictions, chunk):
    keys = ["method", "copy", "metric", "variant", "target", "image_id"]
    some, whole = (scored(cell, images_file, predictions, rows).set_index(keys) for rows in (chunk, 64))
    pd.testing.assert_frame_equal(some.loc[whole.index], whole, check_exact=True)


def test_a_metric_reads_the_class_it_declares_once_per_image(cell, images_file, predictions):
    found = scored(cell, images_file, predictions)
    assert not found.duplicated(["method", "copy", "metric", "variant", "image_id"]).any()
    with MapStore(cell) as maps:
        for (metric, method, copy), own in found[found["variant"] == ""].groupby(["metric", "method", "copy"]):
            target = EVERY[metric][0].METRIC.target
            assert (own["target"] == target).all()
            kept = score_rows.rows_of_target(maps.rows, target)
            assert own["image_id"].tolist() == maps.rows["image_id"].iloc[kept].tolist(), (method, copy)
    assert set(found.loc[found["metric"] == "iou", "variant"]) == {"fixed", "otsu", "area-matched"}
    assert set(found.loc[found["method"] == "coarse", "copy"]) == {0, 1}


def test_degenerate_and_broken_maps_are_named_in_every_metric(cell, images_file, predictions):
    found = scored(cell, images_file, predictions)
    counts = found[found["copy"] == 0].groupby(["method", "metric", "variant"])["status"].agg(list)
    assert all("degenerate" in own for own in counts["coarse"])
    assert all("failed" in own for own in counts["fine"])
    nowhere = found[found["metric"].isin(["shortcut_share", "shortcut_lift", "outside_body_share"])]
    assert not (nowhere["status"] == "ok").any()


def test_every_metric_and_variant_is_estimated_by_lesion_size(cell, images_file, predictions):
    found = scored(cell, images_file, predictions)
    sizes = {image: 0.01 * (1 + place) for place, image in enumerate(predictions["image_id"])}
    manifest = pd.DataFrame({"image_id": list(sizes), "lesion_share": list(sizes.values())})
    found["lesion_size"] = found["image_id"].map(lesion_size(manifest, found["image_id"]))
    table = estimate_scores([found], by=("lesion_size",)).query("by == 'lesion_size' and method == 'fine'")
    strata = table.groupby(["metric", "variant"])["stratum"].agg(set)
    pairs = set(found[["metric", "variant"]].itertuples(index=False, name=None))
    assert set(strata.index) == pairs
    assert all(own == {"small", "medium", "large"} for own in strata)


def test_the_job_never_imports_torch():
    code = (
        "import sys; from gradfaith import registry; from gradfaith.scoring import localization, score_rows; "
        "from gradfaith.storage import hdf5, parquet\n"
        "[registry.load('localization', name) for name in registry.names('localization')]\n"
        "sys.exit(bool({'torch', 'timm', 'captum'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
