"""A network forgets step by step, from either end, and always to the same end; maps are compared by rank, and nothing is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typed
from joined_tables import joined
from scipy.stats import spearmanr
from small_networks import make
from torch import Tensor, nn
from typed import typed_methods

from gradfaith import rng
from gradfaith.attribution import cell as cell_attribution
from gradfaith.attribution.bound_method import bind_methods
from gradfaith.config.job_settings import RandomiseSettings
from gradfaith.config.sections import Passes
from gradfaith.metrics.contract import Result
from gradfaith.metrics.maps import rank_correlation as randomisation_maps
from gradfaith.models import speed
from gradfaith.models.classifier import Classifier, build_classifier
from gradfaith.models.randomise import modules_in_running_order, randomise_in_steps
from gradfaith.scoring import randomisation
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter

NETWORKS = [
    ("test_resnet.r160_in1k", {"output_stride": 8}),
    ("vit_tiny_patch16_224", {"depth": 3, "embed_dim": 48, "num_heads": 3}),
    ("test_efficientnet.r160_in1k", {}),
]
STEPS, SEED = 4, 11
every_network = pytest.mark.parametrize(("timm", "options"), NETWORKS, ids=[name for name, _ in NETWORKS])


def settled(timm: str, options: dict[str, Any]) -> Classifier:
    """Batch norms with statistics of their own, as after training."""
    classifier = make(timm, 96, **options)
    with torch.no_grad():
        for module in classifier.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                module.running_mean.fill_(0.125)
    return classifier.eval()


def state(classifier: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in classifier.net.state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name.rpartition(".")[0] for name in one if not torch.equal(one[name], other[name])}


@every_network
def test_modules_are_replaced_step_by_step_in_the_order_they_run(timm: str, options: dict[str, Any]) -> None:
    classifier = settled(timm, options)
    before, modules = state(classifier), modules_in_running_order(classifier)
    assert len(set(modules)) == len(modules)
    assert modules[-1] == classifier.net.pretrained_cfg["classifier"]
    for order, towards in (("bottom_up", modules), ("top_down", modules[::-1])):
        done = [
            differing(before, state(made)) for _, _, made in randomise_in_steps(classifier, [order], STEPS, seed=SEED)
        ]
        assert len(done) == STEPS
        for number, changed in enumerate(done, 1):
            assert changed == set(towards[: len(changed)]), "no gap, from one end"
            assert abs(len(changed) - number * len(modules) / STEPS) < STEPS
        assert done[-1] == set(modules)
    assert not differing(before, state(classifier)), "the given network is as it was"


@every_network
def test_both_orders_end_at_the_same_network_of_its_own_seed(timm: str, options: dict[str, Any]) -> None:
    classifier = settled(timm, options)
    made = {
        (order, step): state(found)
        for order, step, found in randomise_in_steps(classifier, ["top_down", "bottom_up"], STEPS, seed=SEED)
    }
    end = made["top_down", STEPS]
    assert not differing(end, made["bottom_up", STEPS])
    again = {step: state(found) for _, step, found in randomise_in_steps(classifier, ["top_down"], STEPS, seed=SEED)}
    assert not any(differing(again[step], made["top_down", step]) for step in again)
    (other,) = (state(found) for _, _, found in randomise_in_steps(classifier, ["top_down"], 1, seed=SEED + 1))
    assert differing(end, other)
    fresh = build_classifier(classifier.spec, seed=SEED).net.state_dict()
    for name, value in fresh.items():
        zero = name in dict(classifier.net.named_parameters()) and not value.any()
        assert end[name].any() if zero else torch.equal(end[name], value), name


def test_batch_norms_lose_their_statistics_with_their_weights() -> None:
    classifier = settled(*NETWORKS[0])
    (random,) = (found for _, _, found in randomise_in_steps(classifier, ["top_down"], 1, seed=SEED))
    norms = [module for module in random.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(not module.running_mean.any() and (module.running_var == 1).all() for module in norms)
    assert not any(module.training for module in random.modules())


def test_the_global_generator_is_untouched() -> None:
    before = torch.random.get_rng_state()
    list(randomise_in_steps(settled(*NETWORKS[1]), ["top_down"], 1, seed=SEED))
    assert torch.equal(before, torch.random.get_rng_state())


def test_agreement_is_spearman_s_with_ties_and_signs() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.integers(-3, 4, (6, 5, 7)).astype(np.float32), draw.normal(size=(6, 5, 7)).astype(np.float32)
    found = randomisation_maps.rank_agreement(first, second)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(found.value, expected, rtol=1e-12)
    np.testing.assert_allclose(randomisation_maps.rank_agreement(second, 3 * second).value, 1)
    np.testing.assert_allclose(randomisation_maps.rank_agreement(second, -second).value, -1)


def test_a_constant_map_is_degenerate_and_one_that_is_not_finite_has_failed() -> None:
    good = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    flat, near, gap = np.ones_like(good), np.ones_like(good), good.copy()
    near[0, 0], gap[1, 1] = 1 + 1e-7, np.nan
    pairs = [(good, good), (good, 0 * good), (flat, good), (good, near), (good, gap), (gap, flat)]
    found = randomisation_maps.rank_agreement(*(np.stack(side) for side in zip(*pairs, strict=True)))
    assert found.status.tolist() == ["ok", "degenerate", "degenerate", "degenerate", "failed", "failed"]
    assert np.isfinite(found.value).tolist() == [True] + [False] * 5
    assert all(found.reason[1:])


@pytest.mark.parametrize(("order", "step", "steps"), [("top_down", 1, 4), ("bottom_up", 4, 4)])
def test_a_variant_says_what_it_is_and_is_read_back(order: str, step: int, steps: int) -> None:
    text = randomisation_maps.variant_name(order, step, steps)
    assert randomisation_maps.parse_variant(text) == (order, step / steps)
    assert randomisation_maps.is_fully_randomised(text) == (step == steps)
    assert not any(map(randomisation_maps.is_fully_randomised, ("", "pairs", "black", "between-images")))


METHODS = {
    name: {"group": "methods", "use": name, "layer": layer, "options": {}, "score": "logit", "shuffled": True}
    for name, layer in (("gradcam", "layer4"), ("hirescam", "layer3"))
}
ASKED = RandomiseSettings(
    seed=0, passes=typed.PLAIN, methods=typed_methods(METHODS), steps=2, orders=["top_down", "bottom_up"], max_images=5
)
MODEL = {"arch": "net", "seed": 1}
KEY = (0, "net", 1)


@pytest.fixture(scope="module")
def images(images_file: Path):
    with ImageStore(images_file) as opened:
        yield opened


@pytest.fixture(scope="module")
def maps(
    classifier: Classifier, images: ImageStore, predictions: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
):
    """A cell's store, as explain makes it."""
    table = cell_attribution.map_rows(
        predictions[predictions["part"] == "test"].reset_index(drop=True), ["normal", "benign", "malignant"]
    )
    path = tmp_path_factory.mktemp("maps") / "cams.h5"
    cell = cell_attribution.MapCell(
        classifier,
        images.pixels,
        table,
        bind_methods(classifier, typed_methods(METHODS)),
        key=KEY,
        copies=5,
        batch_limit=4,
    )
    with MapWriter(path, table, {}) as writer:
        for piece in cell.map_chunks():
            writer.put(piece.label, piece.info, piece.start, piece.maps, piece.seconds, piece.diagnostics)
    with MapStore(path) as opened:
        yield opened


def stored(maps: MapStore, predictions: pd.DataFrame, most: int | None = None) -> randomisation.TrainedMaps:
    return randomisation.TrainedMaps(maps, randomisation.select_rows(maps, predictions, most, seed=0))


def cell_of(
    classifier: Classifier, images: ImageStore, beside: randomisation.TrainedMaps, **changes: Any
) -> cell_attribution.MapCell:
    uses = bind_methods(classifier, typed_methods({name: {**how, "shuffled": False} for name, how in METHODS.items()}))
    asked: dict[str, Any] = {
        "methods": uses,
        "key": KEY,
        "copies": 1,
        "batch_limit": 3,
        "probe_layers": False,
    } | changes
    return cell_attribution.MapCell(classifier, images.pixels, beside.table, **asked)


def test_a_network_nobody_changed_agrees_with_itself(
    classifier: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame
) -> None:
    beside = stored(maps, predictions)
    found = randomisation.compare_with_trained(cell_of(classifier, images, beside), beside)
    assert set(found) == set(METHODS)
    for result in found.values():
        assert len(result.value) == 12
        np.testing.assert_allclose(result.value[result.status == "ok"], 1, atol=1e-6)
        assert (result.status == "ok").sum() > 6


def test_scores_are_one_row_per_image_method_order_and_step(
    classifier: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame
) -> None:
    before = state(classifier)
    found = joined(
        randomisation.score_randomisation(classifier, images, maps, predictions, ASKED, MODEL, batch_limit=2)
    )
    assert len(found) == 5 * len(METHODS) * 4
    assert not found.duplicated(["image_id", "method", "variant"]).any()
    assert set(found["variant"]) == {f"{order} {step}/2" for order in ("top_down", "bottom_up") for step in (1, 2)}
    assert {tuple(row) for row in found[["method", "layer"]].to_numpy()} == {
        ("gradcam", "layer4"),
        ("hirescam", "layer3"),
    }
    assert (found[["arch", "seed", "target", "metric"]] == ["net", 1, "predicted", "randomisation"]).all(axis=None)
    known = predictions.set_index("image_id").loc[found["image_id"]]
    assert (found["group"].to_numpy() == known["group"].to_numpy()).all()
    last = [
        found[found["variant"] == f"{order} 2/2"][["value", "status"]].reset_index(drop=True) for order in ASKED.orders
    ]
    pd.testing.assert_frame_equal(*last)
    assert not differing(before, state(classifier))
    again = joined(
        randomisation.score_randomisation(classifier, images, maps, predictions, ASKED, MODEL, batch_limit=5)
    )
    np.testing.assert_allclose(found["value"].astype(float), again["value"].astype(float), atol=1e-6)


def test_the_slow_way_gives_the_same_numbers(
    classifier: Classifier, images: ImageStore, maps: MapStore, predictions: pd.DataFrame
) -> None:
    """One image, Grad-CAM by hand on the random network, scipy's Spearman."""
    asked = ASKED.model_copy(update={"orders": ["bottom_up"], "max_images": None})
    found = joined(
        randomisation.score_randomisation(classifier, images, maps, predictions, asked, MODEL, batch_limit=4)
    )
    (_, _, random), *_ = randomise_in_steps(classifier, ["bottom_up"], 2, seed=rng.seed(*KEY, "randomisation"))
    own = found[(found["method"] == "gradcam") & (found["variant"] == "bottom_up 1/2") & (found["status"] == "ok")]
    for _, row in own.head(3).iterrows():
        at = maps.rows.index[(maps.rows["image_id"] == row["image_id"]) & (maps.rows["role"] != "true")][0]
        seen: list[Tensor] = []
        hook = random.net.get_submodule("layer4").register_forward_hook(
            lambda _m, _i, output, seen=seen: seen.append(output)
        )
        logits = random(torch.from_numpy(images.pixels([row["image_id"]])).float() / 255)
        hook.remove()
        (slope,) = torch.autograd.grad(logits[0, int(maps.rows["target"][at])], seen[0])
        again = (slope.mean(dim=(2, 3), keepdim=True) * seen[0]).sum(dim=1).relu()[0].detach().numpy()
        assert row["value"] == pytest.approx(
            spearmanr(maps.maps("gradcam", 0)[at].ravel(), again.ravel()).statistic, abs=1e-5
        )
    assert len(own) >= 3


def test_images_are_drawn_evenly_from_those_explained(maps: MapStore, predictions: pd.DataFrame) -> None:
    few, more = (randomisation.select_rows(maps, predictions, most, seed=0) for most in (4, 8))
    assert (len(few), len(more)) == (4, 8)
    assert set(few) <= set(more)
    assert not {"true"} & set(maps.rows["role"].iloc[more])
    groups = predictions.set_index("image_id")["group"][maps.rows["image_id"].iloc[few]]
    assert groups.nunique() == 4, "of four groups one each"
    assert len(randomisation.select_rows(maps, predictions, None, seed=0)) == 12


def test_a_dead_network_gives_degenerate_maps_and_one_without_numbers_failed_ones(
    images: ImageStore, maps: MapStore, predictions: pd.DataFrame, classifier: Classifier
) -> None:
    """The probe would refuse both."""
    beside = stored(maps, predictions, 4)
    for value, status in ((0.0, "degenerate"), (float("nan"), "failed")):
        (dead,) = (found for _, _, found in randomise_in_steps(classifier, ["top_down"], 1, seed=SEED))
        with torch.no_grad():
            for parameter in dead.parameters():
                parameter.fill_(value)
        for result in randomisation.compare_with_trained(cell_of(dead, images, beside), beside).values():
            assert set(result.status) == {status}


def test_a_method_that_refuses_has_failed_with_its_reason_and_the_others_go_on(
    classifier: Classifier,
    images: ImageStore,
    maps: MapStore,
    predictions: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradfaith.attribution.methods import hirescam
    from gradfaith.errors import MethodUndefined

    def refuse(_tap: object) -> Tensor:
        raise MethodUndefined(problem="it does not add up.", reason="", fix="")

    monkeypatch.setattr(hirescam, "attribute", refuse)
    beside = stored(maps, predictions, 4)
    found: dict[str, Result] = randomisation.compare_with_trained(cell_of(classifier, images, beside), beside)
    assert set(found["hirescam"].status) == {"failed"}
    assert set(found["hirescam"].reason) == {"it does not add up."}
    assert "ok" in found["gradcam"].status


def test_a_network_that_cannot_be_prepared_has_failed_at_its_steps_and_ends_nothing(
    classifier: Classifier,
    images: ImageStore,
    maps: MapStore,
    predictions: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "LARGEST_REQUESTED_CHANGE", -1.0)  # no folding is close enough
    asked = ASKED.model_copy(update={"orders": ["top_down"], "passes": Passes(fold_batch_norm=True)})
    found = joined(
        randomisation.score_randomisation(classifier, images, maps, predictions, asked, MODEL, batch_limit=5)
    )
    assert set(found["method"]) == set(ASKED.methods)
    assert set(found["variant"]) == {"top_down 1/2", "top_down 2/2"}
    assert set(found["status"]) == {"failed"}
    assert found["reason"].str.contains("the logits of .* change by up to").all()


def test_a_smaller_number_of_images_is_a_part_of_a_larger_one(predictions: pd.DataFrame) -> None:
    some = [set(cell_attribution.sample_evenly(predictions, most, 3)["image_id"]) for most in (3, 9, None)]
    assert some[0] < some[1] < some[2]
