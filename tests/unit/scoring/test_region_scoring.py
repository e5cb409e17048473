"""The faithfulness job with metrics of regions: evidence and decoys from the store, the second class's map beside the first."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joined_tables import joined_faithfulness
from scipy.stats import spearmanr
from small_images import CLASSES
from torch import nn

from gradfaith.attribution.cell import map_rows as wanted_rows
from gradfaith.config.study import PluginUse
from gradfaith.metrics.faithfulness.contrastivity import ONE_MAP
from gradfaith.scoring import faithfulness, score_rows
from gradfaith.scoring.faithfulness import region_numbers
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

USES = {name: PluginUse(use=name, options={"decoys": 4}) for name in ("region_correctness", "contrastivity")}


@pytest.fixture(scope="module")
def table(predictions) -> pd.DataFrame:
    return wanted_rows(predictions, CLASSES)


@pytest.fixture(scope="module")
def store(tmp_path_factory, table) -> Path:
    """`drawn`: a map per class; `blind`: the same for both classes."""
    path, draw = tmp_path_factory.mktemp("cell") / "cams.h5", np.random.default_rng(0)
    drawn = draw.random((len(table), 1, 32, 32)).astype(np.float32)
    place = {image: row for row, image in reversed(list(enumerate(table["image_id"])))}
    with MapWriter(path, table, {}) as writer:
        for label, maps in (("drawn", drawn), ("blind", drawn[[place[image] for image in table["image_id"]]])):
            writer.put(label, MapInfo(label, "", "input", False, 1), 0, maps, 1.0)
    return path


@pytest.fixture(scope="module")
def classifier():
    """A weighted sum of the pixels per class: every class has regions of its own that matter to it."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 3)).eval()


@pytest.fixture(scope="module")
def found(store, classifier, images_file, predictions) -> pd.DataFrame:
    metrics, imputers = (
        score_rows.load_plugins("faithfulness", USES),
        score_rows.load_plugins("imputers", {"black": PluginUse(use="black")}),
    )
    cell = {"arch": "net", "seed": 1}
    with ImageStore(images_file) as images, MapStore(store) as maps:
        return joined_faithfulness(
            faithfulness.score_faithfulness(classifier, images, maps, predictions, metrics, imputers, cell, 0, chunk=7)
        )[0]


def test_a_bundle_without_a_method_for_this_architecture_has_empty_tables(
    tmp_path, table, classifier, images_file, predictions
):
    metrics, imputers = (
        score_rows.load_plugins("faithfulness", USES),
        score_rows.load_plugins("imputers", {"black": PluginUse(use="black")}),
    )
    with MapWriter(tmp_path / "none.h5", table, {}):
        pass
    with ImageStore(images_file) as images, MapStore(tmp_path / "none.h5") as maps:
        tables_ = joined_faithfulness(
            faithfulness.score_faithfulness(
                classifier, images, maps, predictions, metrics, imputers, {"arch": "net", "seed": 1}, 0, chunk=7
            )
        )
    for found, schema in zip(tables_, (parquet.SCORES, parquet.CURVES), strict=True):
        parquet.write(tmp_path / "t.parquet", found, schema)
        assert not len(parquet.read(tmp_path / "t.parquet", schema))


def literal(classifier, images: ImageStore, image: str, unit: np.ndarray) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Per region: the mean of the map, its share of the map's mass, and the drop of every class's logit."""
    labels = region_numbers(images, [image], 4, 0)[0]
    pixels = torch.from_numpy(images.pixels([image])).float() / 255
    means, shares, drops = [], [], []
    with torch.no_grad():
        before = classifier(pixels)[0]
        for number in sorted(set(np.unique(labels)) - {0}):
            gone = labels == number
            means.append(float(unit[gone].mean()))
            shares.append(float(unit[gone].sum() / unit.sum()))
            drops.append((before - classifier(pixels * torch.from_numpy(~gone)[None, None])[0]).numpy())
    return means, np.array(shares), np.array(drops)


def of(maps: MapStore, label: str, image: str, role: tuple[str, ...]) -> tuple[np.ndarray, int]:
    row = maps.rows.index[(maps.rows["image_id"] == image) & maps.rows["role"].isin(role)][0]
    raw = maps.maps(label, 0)[row].astype(float)
    return (raw - raw.min()) / (raw.max() - raw.min()), int(maps.rows["target"][row])


def test_correctness_is_that_of_the_image_s_own_regions(found, store, classifier, images_file):
    own = found[(found["metric"] == "region_correctness") & (found["method"] == "drawn")].set_index("image_id")
    assert (own.loc[own["label"] == "normal", "status"] == "undefined").all()
    assert (own.loc[own["label"] != "normal", "status"] == "ok").all()
    with ImageStore(images_file) as images, MapStore(store) as maps:
        for image in own.index[own["label"] != "normal"][:6]:
            unit, target = of(maps, "drawn", image, ("predicted", "both"))
            means, _, drops = literal(classifier, images, image, unit)
            assert len(means) == 5
            assert own.loc[image, "value"] == pytest.approx(spearmanr(means, drops[:, target]).statistic, abs=1e-6)


def test_contrastivity_is_of_the_wrong_images_and_compares_the_two_maps(found, store, classifier, images_file):
    own = found[found["metric"] == "contrastivity"].set_index(["method", "image_id"])
    right = own[own["correct"].astype(bool)]
    assert set(right["status"]) == {"undefined"}
    assert set(right["reason"]) == {ONE_MAP}
    defined = own[own["status"] == "ok"]
    assert len(defined), "no image is left to say anything of"
    assert (defined.loc["blind", "value"] == 0.5).all()
    with ImageStore(images_file) as images, MapStore(store) as maps:
        for image, value in defined.loc["drawn", "value"].items():
            (first, a), (second, b) = (of(maps, "drawn", image, (role,)) for role in ("predicted", "true"))
            (_, one, drops), (_, two, _) = (literal(classifier, images, image, unit) for unit in (first, second))
            here, there = drops[:, a].argmax(), drops[:, b].argmax()
            assert here != there
            assert value == pytest.approx((int(one[here] > two[here]) + int(two[there] > one[there])) / 2)
