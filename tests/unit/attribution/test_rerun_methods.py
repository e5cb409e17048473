"""Methods asked again on a real network: the same maps of the same images, one forward for all, and everybody's own chance."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typed
from joined_tables import joined, joined_faithfulness
from torch import Tensor
from typed import typed_methods

from gradfaith.attribution import bound_method, rerun
from gradfaith.attribution import cell as cell_attribution
from gradfaith.config.job_settings import RandomiseSettings, RerunSettings
from gradfaith.config.sections import Passes
from gradfaith.config.study import ImageSelection, PluginUse
from gradfaith.errors import MethodUndefined
from gradfaith.metrics.contract import RerunBatch, WeightState
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.device import AdaptiveBatch
from gradfaith.scoring import faithfulness, randomisation
from gradfaith.scoring import score_rows as between
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter

CLASSES, COPIES, MODEL = ["normal", "benign", "malignant"], 3, {"arch": "net", "seed": 1}
CHUNK = AdaptiveBatch(16, torch.device("cpu"))
PLAIN = {"group": "methods", "use": "gradcam", "layer": "auto", "options": {}, "score": "logit", "shuffled": False}
CONTROL = PLAIN | {"group": "controls"}
METHODS: dict[str, dict[str, Any]] = {
    "gradcam": PLAIN | {"shuffled": True},
    "early": PLAIN | {"layer": "layer2", "score": "log_odds"},
    "fine": PLAIN | {"use": "refine", "options": {"of": "layercam"}, "shuffled": True},
    "ablated": PLAIN | {"use": "ablationcam"},
    "curved": PLAIN | {"use": "shapleycam"},
    "saliency": PLAIN | {"use": "saliency"},
    "smooth": PLAIN | {"use": "smoothgrad", "options": {"samples": 4}},
    "random-grid": CONTROL | {"use": "random-grid", "shuffled": True},
    "edges": CONTROL | {"use": "edges"},
}
SAME = sorted({*METHODS, "shuffled-gradcam", "shuffled-fine", "shuffled-random-grid"} - {"smooth"})
SETTINGS = RerunSettings(passes=typed.PLAIN, organ="", methods=typed_methods(METHODS))
KEY = (0, "net", 1)


def chosen(room: str, **options: dict[str, Any]) -> between.BoundPlugins:
    return between.load_plugins(room, {name: PluginUse(use=name, options=own) for name, own in options.items()})


METRICS = chosen("faithfulness", coherency={}, max_sensitivity={"draws": 2}, randomisation_sensitivity={})
BLACK = chosen("imputers", black={})


@pytest.fixture(scope="module")
def images(images_file: Path) -> Iterator[ImageStore]:
    with ImageStore(images_file) as opened:
        yield opened


def cell(
    classifier: Classifier, pixels: Any, table: pd.DataFrame, methods: dict[str, Any] = METHODS
) -> cell_attribution.MapCell:
    asked = bound_method.bind_methods(classifier, typed_methods(methods))
    return cell_attribution.MapCell(classifier, pixels, table, asked, (0, "net", 1), COPIES, 3, probe_layers=False)


@pytest.fixture(scope="module")
def maps(
    tmp_path_factory: Any, classifier: Classifier, images: ImageStore, predictions: pd.DataFrame
) -> Iterator[MapStore]:
    path = tmp_path_factory.mktemp("again") / "cams.h5"
    few = cell_attribution.select_images(predictions, ImageSelection(max_images=5), 0)
    table = cell_attribution.map_rows(few, CLASSES)
    with MapWriter(path, table, {}) as writer:
        for piece in cell(classifier, images.pixels, table).map_chunks():
            writer.put(piece.label, piece.info, piece.start, piece.maps, piece.seconds)
    with MapStore(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def explainer(classifier: Classifier, images: ImageStore, maps: MapStore) -> rerun.Reexplainer:
    return rerun.build_reexplainer(classifier, images, maps, METRICS, SETTINGS, KEY, batch_limit=16)


def batch(
    images: ImageStore, maps: MapStore, *, change: str = "kept", model: WeightState = "trained", wanted: Any = None
) -> RerunBatch:
    """The stored images as they are; every map is wanted of every row, unless told."""
    rows = maps.rows[maps.rows["role"] != "true"]
    ids, every = list(rows["image_id"]), torch.arange(len(rows))
    names = [(label, copy) for label, info, copy in between.method_copies(maps)]
    pixels, target = torch.from_numpy(images.pixels(ids)).float() / 255, torch.tensor(rows["target"].to_numpy())
    return RerunBatch(pixels, target, ids, [change] * len(ids), wanted or dict.fromkeys(names, every), model)


def close(found: Any, expected: Any, share: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max())


def test_an_unchanged_image_has_the_stored_map_of_every_method_control_and_shuffled_copy(
    explainer, images, maps
) -> None:
    found = explainer(batch(images, maps))
    assert {name for name, _ in found} == {*SAME, "smooth"}
    assert len(found) == 9 + 3 * COPIES
    for (label, copy), own in found.items():
        if label != "smooth":
            close(own.numpy(), maps.maps(label, copy)[: len(own)])


def test_rows_may_be_wanted_of_some_methods_only_and_in_any_mixture(explainer, images, maps) -> None:
    rows = {
        ("gradcam", 0): [0, 3],
        ("shuffled-gradcam", 2): [1],
        ("early", 0): [1, 2],
        ("saliency", 0): [4],
        ("edges", 0): [2],
    }
    wanted = {whose: torch.tensor(own) for whose, own in rows.items()}
    found = explainer(batch(images, maps, wanted=wanted))
    assert found.keys() == wanted.keys()
    for (label, copy), own in found.items():
        close(own.numpy(), maps.maps(label, copy)[rows[label, copy]])


def test_all_maps_of_a_layer_come_from_one_forward_and_one_backward(explainer, images, maps, monkeypatch) -> None:
    """Five images, two methods of one layer and their copies, each wanted of other rows; grids were asked before, once per model."""
    assert explainer.cells["trained"].grids
    seen, slopes = [], []
    network, taken = explainer.cells["trained"].classifier.net, torch.autograd.grad
    hook = network.register_forward_pre_hook(lambda _net, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **how: slopes.append(1) or taken(*given, **how))
    rows = torch.arange(5)
    wanted = {
        ("gradcam", 0): rows[:2],
        ("shuffled-gradcam", 0): rows[2:3],
        ("fine", 0): rows[3:],
        ("random-grid", 0): rows,
    }
    try:
        explainer(batch(images, maps, wanted=wanted))
    finally:
        hook.remove()
    assert seen == [5]
    assert len(slopes) == 1


def test_controls_alone_ask_the_network_nothing(explainer, images, maps) -> None:
    seen: list[int] = []
    hook = explainer.cells["trained"].classifier.net.register_forward_pre_hook(lambda _net, inputs: seen.append(1))
    explainer(batch(images, maps, wanted={("random-grid", 0): torch.arange(5)}))
    hook.remove()
    assert not seen


def test_chance_is_drawn_anew_for_a_changed_image_and_kept_for_another_model(classifier, images, maps) -> None:
    cells = cell(classifier, images.pixels, maps.rows)
    same = rerun.Reexplainer({"trained": cells, "randomised": cells}, CHUNK)  # one network: only the chance can differ
    kept, shown = maps.maps("smooth", 0)[:5], ("smooth", 0)
    first, second, third = (same(batch(images, maps, change=name))[shown].numpy() for name in ("a", "a", "b"))
    close(first, second)
    assert all(np.abs(one - two).max() > 0.01 * np.abs(two).max() for one, two in ((first, third), (first, kept)))
    close(same(batch(images, maps, model="randomised"))[shown].numpy(), kept)


def test_a_row_that_a_method_refuses_has_no_finite_map_and_the_others_keep_theirs(
    classifier, images, maps, monkeypatch, capsys
) -> None:
    from gradfaith.attribution.methods import saliency

    asked, attribute = batch(images, maps, wanted={("saliency", 0): torch.tensor([0, 2, 4])}), saliency.attribute

    def refuse(given: Any) -> Tensor:
        if any(torch.equal(image, asked.images[2]) for image in given.images):
            raise MethodUndefined(problem="it does not add up.", reason="", fix="")
        return attribute(given)

    monkeypatch.setattr(saliency, "attribute", refuse)
    found = rerun.Reexplainer({"trained": cell(classifier, images.pixels, maps.rows)}, CHUNK)(asked)["saliency", 0]
    assert torch.isfinite(found).flatten(1).all(dim=1).tolist() == [True, False, True]
    close(found[[0, 2]].numpy(), maps.maps("saliency", 0)[[0, 4]])
    assert f"saliency, kept, {asked.image_ids[2]}: it does not add up." in capsys.readouterr().out


@pytest.fixture(scope="module")
def scores(
    classifier: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame, explainer: Any
) -> pd.DataFrame:
    found, curves = joined_faithfulness(
        faithfulness.score_faithfulness(
            classifier, images, maps, predictions, METRICS, BLACK, MODEL, 0, chunk=16, explain=explainer
        )
    )
    assert curves.empty
    return found


def test_scores_are_one_row_per_map_metric_and_imputer_that_is_read(scores: pd.DataFrame) -> None:
    assert len(scores) == 5 * (9 + 3 * COPIES) * 3
    assert not scores.duplicated(["method", "copy", "image_id", "metric"]).any()
    variants = scores.groupby("metric")["variant"].unique().map(list).to_dict()
    assert variants == {"coherency": ["black"], "max_sensitivity": [""], "randomisation_sensitivity": [""]}
    assert (scores["status"] == "ok").mean() > 0.7
    assert set(scores.loc[scores["status"] != "ok", "reason"]) <= {
        "the map is constant", "the map of the image it masks is constant", "the map of the randomised model is constant",
    }  # fmt: skip


@pytest.mark.parametrize("label", ["gradcam", "fine", "ablated", "curved", "saliency", "shuffled-gradcam", "shuffled-fine"])  # fmt: skip
def test_coherency_is_of_the_whole_method_the_slow_way(
    classifier: Classifier, images: ImageStore, maps: MapStore, scores: pd.DataFrame, label: str
) -> None:
    """Every image masked by its own map and explained as a cell explains: all layers anew, permuted alike; numpy's correlation."""
    info, table = maps.methods[label], maps.rows[maps.rows["role"] != "true"].assign(role="both").reset_index(drop=True)
    given, copy = {"grid": info.grid, "signed": info.signed, "size": images.size}, info.copies - 1
    first = evaluate(torch.from_numpy(maps.maps(label, copy)[:5]), **given)
    place = {image: row for row, image in enumerate(table["image_id"])}

    def masked(ids: list[str]) -> np.ndarray:
        keep = first.unit[[place[image] for image in ids]].numpy()
        return images.pixels(ids) * keep[:, None]

    own = label.removeprefix("shuffled-")
    slow = cell(classifier, masked, table, {own: METHODS[own]})
    raw = np.concatenate([piece.maps[:, copy] for piece in slow.map_chunks() if piece.label == label])
    second = evaluate(torch.from_numpy(raw), **given)
    found = scores[(scores["method"] == label) & (scores["metric"] == "coherency") & (scores["copy"] == copy)]
    found, compared = found.set_index("image_id"), 0
    for image, row in place.items():
        if not (first.degenerate[row] or second.degenerate[row]):
            rho = np.corrcoef(first.unit[row].flatten(), second.unit[row].flatten())[0, 1]
            assert found.loc[image, "value"] == pytest.approx((1 + rho) / 2, abs=2e-4)
            compared += 1
    assert compared >= 3


def test_a_control_repeats_itself_and_a_shuffled_map_is_asked_again_and_moved_alike(
    scores: pd.DataFrame, images: ImageStore, maps: MapStore, explainer: rerun.Reexplainer
) -> None:
    value = scores[scores["status"] == "ok"].set_index(["metric", "method"])["value"]
    for control in ("random-grid", "shuffled-random-grid"):
        assert value["coherency", control].to_numpy() == pytest.approx(1)
        assert value["max_sensitivity", control].to_numpy() == pytest.approx(0)
        assert value["randomisation_sensitivity", control].to_numpy() == pytest.approx(1)
    assert value["coherency", "edges"].max() < 1, "it sees what is masked"
    wide = scores[scores["metric"] == "max_sensitivity"].pivot(
        index="image_id", columns=["method", "copy"], values="value"
    )
    for copy in range(COPIES):
        np.testing.assert_allclose(wide["shuffled-gradcam", copy], wide["gradcam", 0], rtol=1e-5)


def test_the_randomised_model_is_the_last_of_the_sanity_check(
    classifier: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame, scores: pd.DataFrame
) -> None:
    asked = RandomiseSettings(
        seed=0, passes=typed.PLAIN, methods=SETTINGS.methods, orders=["top_down"], steps=2, max_images=None
    )
    check = joined(
        randomisation.score_randomisation(classifier, images, maps, predictions, asked, MODEL, batch_limit=16)
    )
    last = check[check["variant"] == "top_down 2/2"].set_index(["method", "image_id"])
    own = scores[(scores["metric"] == "randomisation_sensitivity") & (scores["copy"] == 0)].set_index(
        ["method", "image_id"]
    )
    both = last.index.intersection(own.index)
    assert len(both) == 5 * len(METHODS)
    ok = (last.loc[both, "status"] == "ok") & (own.loc[both, "status"] == "ok")
    assert ok.mean() > 0.5
    np.testing.assert_allclose(last.loc[both, "value"][ok].abs(), own.loc[both, "value"][ok], atol=1e-5)


def test_a_random_network_that_cannot_be_prepared_costs_only_the_metrics_that_ask_it(
    classifier: Classifier, images: ImageStore, maps: MapStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(network: Classifier, _passes: Passes, _tapped: list[str]) -> Classifier:
        if network is classifier:
            return network
        raise MethodUndefined(problem="it cannot be folded.", reason="", fix="")

    monkeypatch.setattr(rerun, "prepare_for_speed", refuse)
    ids = list(maps.rows["image_id"][:2])
    asking = rerun.build_reexplainer(classifier, images, maps, METRICS, SETTINGS, KEY, batch_limit=16)
    pixels = torch.from_numpy(images.pixels(ids) / 255).float()
    wanted = {("gradcam", 0): torch.arange(2), ("saliency", 0): torch.arange(1)}
    asked = RerunBatch(pixels, torch.zeros(2, dtype=torch.long), ids, ["kept"] * 2, wanted, "randomised")
    lost, kept = asking(asked), asking(replace(asked, model="trained"))
    bare = {whose: (found.shape, bool(found.isfinite().all())) for whose, found in kept.items()}
    assert {whose: (found.shape, bool(found.isnan().all())) for whose, found in lost.items()} == bare


@pytest.mark.parametrize("chunk", [1, 7])
def test_the_numbers_do_not_depend_on_the_chunk(
    classifier: Classifier,
    images: ImageStore,
    maps: MapStore,
    predictions: pd.DataFrame,
    scores: pd.DataFrame,
    chunk: int,
) -> None:
    few = {label: SETTINGS.methods[label] for label in ("gradcam", "smooth", "edges")}
    explainer = rerun.build_reexplainer(
        classifier, images, maps, METRICS, SETTINGS.model_copy(update={"methods": few}), KEY, batch_limit=chunk
    )
    kept = SimpleNamespace(
        rows=maps.rows, maps=maps.maps, methods={label: replace(maps.methods[label], copies=1) for label in few}
    )
    found, _ = joined_faithfulness(
        faithfulness.score_faithfulness(
            classifier, images, kept, predictions, METRICS, BLACK, MODEL, 0, chunk=chunk, explain=explainer
        )
    )
    keys = ["method", "copy", "metric", "image_id"]
    one, two = (table.set_index(keys).sort_index() for table in (found, scores))
    two = two.loc[one.index]
    assert (one["status"] == two["status"]).all()
    np.testing.assert_allclose(one["value"], two["value"], atol=2e-4)
