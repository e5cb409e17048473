"""The mean of all other models: votes of unit mass, nobody among his own, against a literal twin."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from gradfaith.metrics.agreement import consist, spearman
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.maps.rank_correlation import coarsest_shape
from gradfaith.metrics.runners.agreement import ComparedImages, ModelMaps, choose_partners
from gradfaith.metrics.runners.ensemble import Ensemble, compare_with_ensemble

METRICS = {"consist": (consist, {}), "spearman": (spearman, {})}
SIZE = (24, 24)


def model_maps(count=4, images=5, seed=0, grids=(6, 8)):
    rng = np.random.default_rng(seed)
    ids = [f"i{k}" for k in range(images)]
    shapes = [(grids[k % len(grids)],) * 2 for k in range(count)]
    return [ModelMaps(rng.random((images, *shape)).astype(np.float32), "native", False, SIZE, ids) for shape in shapes]


def found(models, model):
    ids = list(dict.fromkeys(image for one in models for image in one.image_ids))
    grids = {"input": SIZE, "native": coarsest_shape(one.shape for one in models)}
    ensembles = {grid: Ensemble.from_models(models, grid, shape, ids) for grid, shape in grids.items()}
    compared = ComparedImages(
        model.image_ids, [f"g{image}" for image in model.image_ids], ["ill"] * len(model.image_ids)
    )
    others = choose_partners(compared, 3, ("s",))
    return {label: (same, chance) for label, same, chance in compare_with_ensemble(model, ensembles, METRICS, others)}


def test_each_model_meets_the_mean_of_the_others_votes():
    models = model_maps()
    unit = [evaluate(m.raw, grid="native", signed=False, size=SIZE).unit.astype(float) for m in models]
    coarse = [  # 6 x 6 stays, 8 x 8 is cut into 24 strips and averaged by fours
        m.raw.astype(float) if m.shape == (6, 6) else np.repeat(np.repeat(m.raw.astype(float), 3, 1), 3, 2)
        .reshape(5, 6, 4, 6, 4).mean(axis=(2, 4)) for m in models
    ]  # fmt: skip
    for place, model in enumerate(models):
        result = {label: same.value for label, (same, _) in found(models, model).items()}
        for image in range(5):
            rest = [k for k in range(4) if k != place]
            mean = sum(unit[k][image] / unit[k][image].sum() for k in rest) / 3
            scaled = (mean - mean.min()) / (mean.max() - mean.min())
            here, there = unit[place][image] >= 0.5, scaled >= 0.5
            assert result["consist"][image] == pytest.approx((here & there).sum() / (here | there).sum())
            mean = sum(coarse[k][image] / coarse[k][image].sum() for k in rest) / 3
            assert result["spearman"][image] == pytest.approx(spearmanr(coarse[place][image].ravel(), mean.ravel())[0])


def test_a_model_that_is_like_no_other_does_not_agree_with_itself():
    models = model_maps(grids=(6,))
    for k in (1, 2, 3):
        models[k].raw[:] = models[0].raw[0]
    models[0].raw[:] = -models[1].raw + 2
    assert found(models, models[0])["spearman"][0].value == pytest.approx([-1] * 5)


def test_a_map_a_thousand_times_larger_has_the_same_vote():
    models = model_maps()
    before = found(models, models[0])["spearman"][0].value
    models[1].raw[:] *= 1000
    np.testing.assert_allclose(found(models, models[0])["spearman"][0].value, before)


def test_zeros_that_all_share_stay_tied_when_a_model_is_left_out():
    """Subtracting a vote from the sum must not turn exact zeros into noise that ranks would order."""
    rng = np.random.default_rng(2)
    models = model_maps(grids=(6,))
    for model in models:
        model.raw[:, :, 3:] = 0
        model.raw[:, :, :3] = rng.random((5, 6, 3))
    models[0].raw[:, :, 3:] = rng.random((5, 6, 3))
    rest = sum(model.raw.astype(float) / model.raw.sum(axis=(1, 2), keepdims=True, dtype=float) for model in models[1:])
    expected = [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(models[0].raw, rest, strict=True)]
    assert found(models, models[0])["spearman"][0].value == pytest.approx(expected)


def test_cells_that_the_others_have_level_stay_level_when_a_model_is_left_out():
    """Adding a vote and taking it away again leaves something in the last digit, and that would be ranked."""
    rng = np.random.default_rng(3)
    models = model_maps(grids=(6,))
    for model in models[1:]:
        model.raw[:] = np.where(rng.random((5, 6, 6)) < 0.5, 0.1, 0.3)
        model.raw[:] = model.raw[:1]
    models[0].raw[:] = rng.random((5, 6, 6))
    rest = sum(model.raw.astype(float) / model.raw.sum(axis=(1, 2), keepdims=True, dtype=float) for model in models[1:])
    expected = [spearmanr(a.ravel(), np.round(b, 9).ravel())[0] for a, b in zip(models[0].raw, rest, strict=True)]
    assert found(models, models[0])["spearman"][0].value == pytest.approx(expected)


def test_constant_and_broken_maps_have_no_vote_and_one_other_is_no_ensemble():
    models = model_maps(count=3)
    models[1].raw[0], models[2].raw[1, 0, 0] = 0.2, np.nan
    result = found(models, models[0])
    for same, chance in result.values():
        assert same.status.tolist() == ["undefined", "undefined", "ok", "ok", "ok"]
        assert "fewer than two other models" in same.reason[0]
        assert set(chance.status) == {"ok"}, "an image without an ensemble still has partners that have one"
    own = found(models, models[1])["consist"][0]
    assert own.status.tolist() == ["degenerate", "undefined", "ok", "ok", "ok"]


def test_models_that_explain_other_images_vote_on_their_own():
    models = model_maps(count=4)
    last = models[3]
    models[3] = ModelMaps(last.raw[:2], "native", False, SIZE, ["i4", "i9"])
    assert set(found(models, models[0])["spearman"][0].status) == {"ok"}
    assert found(models, models[3])["spearman"][0].status.tolist() == ["ok", "undefined"]


def test_every_row_says_its_own_reason():
    """Two maps that nowhere reach the threshold have no IoU; that is another thing than to have no ensemble."""
    models = model_maps(count=3, images=2)
    models[1].raw[0] = 0.2
    ids = [f"i{k}" for k in range(2)]
    strict = {"consist": (consist, {"threshold": 1.5})}
    whole = {"input": Ensemble.from_models(models, "input", SIZE, ids)}
    ((_, same, _),) = compare_with_ensemble(models[0], whole, strict, np.full((2, 1), -1))
    assert same.status.tolist() == ["undefined", "undefined"]
    assert ["fewer than two" in reason for reason in same.reason] == [True, False]
    assert same.reason[1] == "neither map reaches the threshold"
