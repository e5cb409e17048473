"""One cell from weights to scores: a classifier as it is, its maps whatever the batch, its rows joined to what is known."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joined_tables import joined, joined_faithfulness
from typed import typed_methods

from gradfaith.attribution import bound_method
from gradfaith.attribution import cell as cell_attribution
from gradfaith.config.study import ImageSelection, PluginUse
from gradfaith.scoring import agreement, faithfulness, localization
from gradfaith.scoring import score_rows as between
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

CLASSES, KEY, COPIES = ["normal", "benign", "malignant"], (0, "net", 1), 3
PLAIN = {"group": "methods", "use": "gradcam", "layer": "auto", "options": {}, "score": "logit", "shuffled": False}
METHODS = {
    "gradcam": PLAIN | {"shuffled": True},
    "early": PLAIN | {"layer": "layer2"},
    "odds": PLAIN | {"score": "log_odds"},
    "ablated": PLAIN | {"use": "ablationcam"},
    "random-grid": PLAIN | {"group": "controls", "use": "random-grid", "shuffled": True},
    "random": PLAIN | {"group": "controls", "use": "random"},
}


def cell(classifier, images: ImageStore, table: pd.DataFrame, **options) -> cell_attribution.MapCell:
    rest = {"key": KEY, "copies": COPIES} | options
    return cell_attribution.MapCell(
        classifier, images.pixels, table, bound_method.bind_methods(classifier, typed_methods(METHODS)), **rest
    )


def asked(
    classifier, images: ImageStore, table: pd.DataFrame, chunk: int, key=KEY
) -> dict[tuple[str, str, int], np.ndarray]:
    """(label, image, target) -> (copies, h, w)."""
    found: dict[tuple[str, str, int], np.ndarray] = {}
    for piece in cell(classifier, images, table, key=key, batch_limit=chunk).map_chunks():
        for row, maps in enumerate(piece.maps, start=piece.start):
            name = (piece.label, str(table["image_id"][row]), int(table["target"][row]))
            assert name not in found
            found[name] = maps
    return found


@pytest.fixture(scope="module")
def images(images_file: Path):
    with ImageStore(images_file) as opened:
        yield opened


@pytest.fixture(scope="module")
def table(predictions: pd.DataFrame) -> pd.DataFrame:
    return cell_attribution.map_rows(
        cell_attribution.select_images(predictions, ImageSelection(max_images=7), 0), CLASSES
    )


@pytest.fixture(scope="module")
def maps(classifier, images: ImageStore, table: pd.DataFrame) -> dict[tuple[str, str, int], np.ndarray]:
    return asked(classifier, images, table, 3)


def test_rows_are_the_predicted_classes_then_the_true_ones_where_they_differ() -> None:
    told = pd.DataFrame(
        {
            "image_id": list("abc"),
            "label": ["normal", "benign", "normal"],
            "predicted": ["normal", "malignant", "benign"],
        },
        index=[7, 8, 9],
    )
    assert cell_attribution.map_rows(told, CLASSES).to_dict("list") == {
        "image_id": ["a", "b", "c", "b", "c"], "target": [0, 2, 1, 1, 0], "role": ["both", "predicted", "predicted", "true", "true"],
    }  # fmt: skip


def test_every_row_gets_a_map_of_every_method(maps, table: pd.DataFrame) -> None:
    labels = {*METHODS, "shuffled-gradcam", "shuffled-random-grid"}
    assert {"predicted", "true", "both"} == set(table["role"])
    assert set(maps) == {(label, row.image_id, row.target) for label in labels for row in table.itertuples()}
    copies = {label: found.shape[0] for (label, _, _), found in maps.items()}
    assert {label for label, number in copies.items() if number == COPIES} == {
        "shuffled-gradcam",
        "shuffled-random-grid",
    }


def assert_same(maps, again, share: float) -> None:
    assert maps.keys() == again.keys()
    for name, found in maps.items():
        np.testing.assert_allclose(again[name], found, rtol=0, atol=share * np.abs(found).max(), err_msg=str(name))


@pytest.mark.parametrize(("double", "share"), [(True, 1e-6), (False, 1e-4)])
def test_maps_are_the_same_whatever_the_batch_and_the_order_of_images(
    classifier, images: ImageStore, table: pd.DataFrame, double: bool, share: float
) -> None:
    """In single precision untrained weights cancel to a few ten-thousandths of their terms, so rounding weighs more."""
    net = copy.deepcopy(classifier).double() if double else classifier
    first, true = table[table["role"] != "true"][::-1], table[table["role"] == "true"][::-1]
    maps = asked(net, images, table, 3)
    for chunk in (1, 32):
        assert_same(maps, asked(net, images, table, chunk), share)
    assert_same(maps, asked(net, images, pd.concat([first, true], ignore_index=True), 4), share)


def test_shuffled_copies_are_the_map_s_own_cells_elsewhere(maps) -> None:
    moved = 0
    for (label, image, target), own in maps.items():
        if label not in {"gradcam", "random-grid"}:
            continue
        copies = maps["shuffled-" + label, image, target]
        for one in copies:
            np.testing.assert_array_equal(np.sort(one, axis=None), np.sort(own, axis=None))
        if np.unique(own).size > 2:
            assert not any(
                np.array_equal(a, b) for a, b in ((copies[0], copies[1]), (copies[1], copies[2]), (copies[0], own[0]))
            )
            moved += 1
    assert moved > 5


def test_another_model_shuffles_otherwise_and_the_true_class_has_its_own_map(
    classifier, images, table: pd.DataFrame, maps
) -> None:
    other = asked(classifier, images, table, 3, key=(0, "net", 2))
    names = [name for name in maps if name[0] == "shuffled-random-grid"]
    assert not any(np.array_equal(maps[name], other[name]) for name in names)
    wrong = table[table["role"] == "true"]["image_id"]
    pairs = [
        [maps["gradcam", image, target] for target in table[table["image_id"] == image]["target"]] for image in wrong
    ]
    assert pairs
    assert not any(np.array_equal(*pair) for pair in pairs)


@pytest.fixture(scope="module")
def store(tmp_path_factory, images: ImageStore, table: pd.DataFrame) -> Path:
    """Maps that know the truth (`oracle`: the evidence itself), its negative, and none."""
    path = tmp_path_factory.mktemp("cell") / "cams.h5"
    truth = images.mask("evidence", list(table["image_id"]))[0][:, None].astype(np.float32)
    with MapWriter(path, table, {}) as writer:
        for label, own in (("oracle", truth + 0), ("inverse", 1 - truth), ("blank", truth * 0)):
            writer.put(label, MapInfo(label, "x", "input", False, 1), 0, own, 1.0)
    return path


def test_localization_rows_know_their_image_and_say_why_there_is_no_number(
    store: Path, images, table, predictions
) -> None:
    uses = {"best": PluginUse(use="saliency_score")}
    model = {"arch": "net", "seed": 1}
    with MapStore(store) as opened:
        tables = localization.score_localization(
            images, [opened], predictions, between.load_plugins("localization", uses), model
        )
        found = joined(tables).set_index(["method", "image_id"])
    assert not found.index.duplicated().any()
    target = found["target"].iloc[0]
    assert len(found) == 3 * len(between.rows_of_target(table, target))
    known = predictions.set_index("image_id")
    for (method, image), row in found.iterrows():
        assert (row["group"], row["label"], row["correct"]) == tuple(known.loc[image, ["group", "label", "correct"]])
        has = row["label"] != "normal"
        want = {
            "blank": "degenerate",
            "oracle": "ok" if has else "degenerate",
            "inverse": "ok" if has else "degenerate",
        }[method]
        assert row["status"] == want
        assert np.isnan(row["value"]) == (want != "ok")
        assert bool(row["reason"]) == (want != "ok")
    ok = found[found["status"] == "ok"]["value"]
    assert (ok["oracle"] > 0.99).all()
    assert (ok["inverse"] < 0.01).all()


def test_agreement_reads_the_true_class_of_images_both_models_explained(tmp_path: Path, images, predictions) -> None:
    rows = pd.DataFrame(
        {"image_id": ["image-06", "image-09", "image-09"], "target": [2, 0, 1], "role": ["both", "predicted", "true"]}
    )
    one = np.random.default_rng(0).random((3, 1, 8, 8)).astype(np.float32)
    other = one.copy()
    other[1] = 0.5  # of a predicted class only: must not matter
    opened = {}
    for seed, maps in ((0, one), (1, other)):
        order = [2, 0, 1] if seed else [0, 1, 2]
        with MapWriter(tmp_path / f"{seed}.h5", rows.iloc[order].reset_index(drop=True), {}) as writer:
            writer.put("cam", MapInfo("gradcam", "x", "native", False, 1), 0, maps[order], 1.0)
        opened["net", seed] = {"cams": MapStore(tmp_path / f"{seed}.h5")}
    uses = between.load_plugins("agreement", {"consist": PluginUse(use="consist")})
    found = joined(agreement.score_agreement(images, opened, predictions, uses, seed=0))
    same = found[found["variant"].isin(["reference", "pairs"])]
    assert set(same["image_id"]) == {"image-06", "image-09"}
    assert (same["status"] == "ok").all()
    np.testing.assert_allclose(same["value"], same["value"].max())  # equal maps: the best there is


def test_faithfulness_rows_are_one_per_map_metric_and_imputer(
    store: Path, classifier, images, table, predictions
) -> None:
    metrics = between.load_plugins("faithfulness", {"faith": PluginUse(use="faith")})
    imputers = between.load_plugins("imputers", {"black": PluginUse(use="black"), "mean": PluginUse(use="mean")})
    with MapStore(store) as opened:
        found, _ = joined_faithfulness(
            faithfulness.score_faithfulness(
                classifier, images, opened, predictions, metrics, imputers, {"arch": "net", "seed": 1}, 0, chunk=4
            )
        )
    assert len(found) == 3 * 7 * 2
    assert not found.duplicated(["method", "image_id", "variant"]).any()
    row = found[(found["method"] == "oracle") & (found["variant"] == "black") & (found["label"] == "malignant")].iloc[0]
    pixels = torch.from_numpy(images.pixels([row["image_id"]])).float() / 255
    keep = 1 - torch.from_numpy(images.mask("evidence", [row["image_id"]])[0]).float()[:, None]
    with torch.no_grad():
        before, after = (classifier(x).softmax(1)[0, CLASSES.index(row["predicted"])] for x in (pixels, pixels * keep))
    assert row["value"] == pytest.approx(float(before - after), abs=1e-6)


def test_curves_are_kept_by_map_and_share_and_agree_with_the_scores(
    store: Path, classifier, images, table, predictions
) -> None:
    metrics = between.load_plugins(
        "faithfulness",
        {"road": PluginUse(use="road"), "deletion": PluginUse(use="deletion", options={"steps": 5})},
    )
    imputers = between.load_plugins("imputers", {"black": PluginUse(use="black")})
    with MapStore(store) as opened:
        scores, curves = joined_faithfulness(
            faithfulness.score_faithfulness(
                classifier, images, opened, predictions, metrics, imputers, {"arch": "net", "seed": 1}, 0, chunk="auto"
            )
        )
    assert set(curves["method"]) == {"oracle", "inverse"}, "a blank map has no order"
    assert set(zip(curves["order"], curves["fraction"], strict=True)) == {
        *(("most", share) for share in (0, 0.2, 0.4, 0.6, 0.8, 1)),
        *(("least", share) for share in (0.2, 0.4, 0.6, 0.8)),
    }
    wide = curves.pivot(index=["method", "image_id"], columns=["order", "fraction"], values="probability")
    road = sum((wide["least", share] - wide["most", share]) / 4 for share in (0.2, 0.4, 0.6, 0.8))
    kept = scores[(scores["metric"] == "road") & (scores["status"] == "ok")].set_index(["method", "image_id"])["value"]
    np.testing.assert_allclose(road.loc[kept.index], kept, atol=1e-6)
    assert not curves.isna().any(axis=None)
