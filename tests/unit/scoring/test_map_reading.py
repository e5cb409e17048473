"""`reading: absolute` reaches every reader of a store: the scores are those of the absolute values, written by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joined_tables import joined, joined_faithfulness
from refused import put
from small_images import CLASSES
from typed import typed_methods

from gradfaith.attribution import cell
from gradfaith.attribution.bound_method import bind_methods
from gradfaith.config.study import PluginUse
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.models.classifier import Classifier
from gradfaith.reporting.figures import overlay
from gradfaith.scoring import agreement, faithfulness, localization, score_rows
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

BY_HAND = "absolute values"  # of the same maps, stored as those of a method without negative values
METHODS = {"plain": {"use": "input_x_gradient"}, "absolute": {"use": "input_x_gradient", "reading": "absolute"}}


@pytest.fixture(scope="module")
def table(predictions: pd.DataFrame) -> pd.DataFrame:
    return cell.map_rows(predictions[predictions["part"] == "test"], CLASSES)


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, root: Path, table: pd.DataFrame, images_file: Path, classifier: Classifier
) -> Path:
    """Maps of a cell as a study asks for them, and the absolute values of the same maps."""
    path = tmp_path_factory.mktemp("reading") / "cams.h5"
    asked = {label: {"layer": "auto", "score": "logit", "shuffled": False, **use} for label, use in METHODS.items()}
    settings = {label: {"group": "methods", "options": {}} | use for label, use in asked.items()}
    with ImageStore(images_file) as images, MapWriter(path, table, {}) as writer:
        made = cell.MapCell(
            classifier,
            images.pixels,
            table,
            bind_methods(classifier, typed_methods(settings)),
            key=(0,),
            copies=5,
            batch_limit=16,
        )
        for chunk in made.map_chunks():
            writer.put(chunk.label, chunk.info, chunk.start, chunk.maps, chunk.seconds)
            if chunk.label == "plain":
                info = MapInfo("input_x_gradient", "", "input", False, 1)
                writer.put(BY_HAND, info, chunk.start, abs(chunk.maps), 1.0)
    return path


def test_the_stored_maps_are_the_same_and_the_store_says_how_they_are_read(store: Path) -> None:
    with MapStore(store) as maps:
        assert (maps.maps("plain", 0) < 0).any()
        np.testing.assert_array_equal(maps.maps("plain", 0), maps.maps("absolute", 0))
        readings = {label: info.reading for label, info in maps.methods.items()}
    assert readings == {"plain": "positive", "absolute": "absolute", BY_HAND: "positive"}


def assert_read_by_size(scores: pd.DataFrame) -> None:
    """The scores of `absolute` are those of the absolute values, and not those of `plain`."""
    values = {label: own["value"].to_numpy() for label, own in scores.groupby("method")}
    np.testing.assert_array_equal(values["absolute"], values[BY_HAND])
    assert np.isfinite(values["absolute"]).any()
    assert not np.array_equal(values["absolute"], values["plain"], equal_nan=True)


def test_localization_reads_absolute_values(store: Path, images_file: Path, predictions: pd.DataFrame) -> None:
    metrics = score_rows.load_plugins("localization", {"saliency_score": PluginUse(use="saliency_score")})
    with ImageStore(images_file) as images, MapStore(store) as maps:
        scores = joined(
            localization.score_localization(images, [maps], predictions, metrics, {"arch": "net", "seed": 1}, 5)
        )
    assert_read_by_size(scores)


def test_faithfulness_reads_absolute_values(
    store: Path, images_file: Path, predictions: pd.DataFrame, classifier: Classifier
) -> None:
    metrics = score_rows.load_plugins("faithfulness", {"faith": PluginUse(use="faith")})
    black = score_rows.load_plugins("imputers", {"black": PluginUse(use="black")})
    with ImageStore(images_file) as images, MapStore(store) as maps:
        tables = faithfulness.score_faithfulness(
            classifier, images, maps, predictions, metrics, black, {"arch": "net", "seed": 1}, 0, chunk=16
        )
        scores, _ = joined_faithfulness(tables)
    assert_read_by_size(scores)


def test_agreement_and_figures_read_absolute_values(store: Path, images_file: Path, table: pd.DataFrame) -> None:
    with ImageStore(images_file) as images, MapStore(store) as maps:
        info, image = maps.methods, table["image_id"].iloc[0]
        read = {label: agreement.true_class_maps(maps, label, info[label], images) for label in info}
        whole = {label: one.read("input", one.shape, slice(0, 3)).unit for label, one in read.items()}
        shown = {label: overlay.load_display_map(maps, label, image, images.size).unit for label in info}
    for found in (whole, shown):
        np.testing.assert_array_equal(found["absolute"], found[BY_HAND])
        assert not np.array_equal(found["absolute"], found["plain"])


def test_the_reading_makes_the_bundle_s_cells_stale_and_no_other(tiny: dict[str, Any], root: Path) -> None:
    """The store carries the reading, so all that reads the store is made again; models and controls are not."""
    params = {}
    for reading in ("positive", "absolute"):
        use = {"ig": {"use": "integrated_gradients", "reading": reading}, "gradcam": {}}
        rules = RuleParams(Plan.read(put(tiny, "bundles/cams/methods", use), root))
        params[reading] = [rules.explain("net-a", "cams"), rules.explain("net-a", "controls"), rules.train("net-a")]
    changed = [one != other for one, other in zip(params["positive"], params["absolute"], strict=True)]
    assert changed == [True, False, False]
