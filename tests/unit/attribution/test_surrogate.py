"""What LIME and KernelSHAP share: refusal of too few samples, fills, and notes that say what two seeds would."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from asked import TARGET, compute_maps, noise, open_image_inputs, relu_network
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from gradfaith import registry
from gradfaith.attribution.contract import MapsWithDiagnostics
from gradfaith.attribution.methods import lime
from gradfaith.attribution.support import superpixels
from gradfaith.errors import MethodUndefined
from gradfaith.storage.map_info import STATUSES, status_of

IMAGES = interpolate(noise(3, 2, 6, 6), (32, 32), mode="bicubic").clamp(0, 1)
ENGINES = {"lime": "Lime", "kernel_shap": "KernelShap"}
both = pytest.mark.parametrize("name", ENGINES)


def cuts(images: Tensor, segments: int) -> list[Tensor]:
    return [superpixels.cut_superpixels(image, segments) for image in images]


def net() -> torch.nn.Module:
    return relu_network(channels=2)


@both
def test_fewer_than_two_samples_for_each_superpixel_are_refused_unless_asked_for(name: str) -> None:
    method, how = registry.load("methods", name), {"segments": 40, "samples": 30}
    with pytest.raises(MethodUndefined, match="samples is 30, for images with about 40 superpixels"):
        compute_maps(method, net(), IMAGES, TARGET, how=how)
    found = compute_maps(method, net(), IMAGES, TARGET, how=how | {"allow_underdetermined": True})
    assert (found.diagnostics["superpixels"] > 15).all()
    assert found.maps.isfinite().all()


@both
def test_an_image_of_more_superpixels_than_its_samples_can_fit_has_no_map_and_stops_nobody(name: str) -> None:
    """20 are asked for and 25 come, which is known only of each image: 44 samples are too few, 50 are enough."""
    method = registry.load("methods", name)
    short = compute_maps(method, net(), IMAGES, TARGET, how={"segments": 20, "samples": 44})
    assert (short.diagnostics["superpixels"] == 25).all()
    assert short.maps.isnan().all()
    assert compute_maps(method, net(), IMAGES, TARGET, how={"segments": 20, "samples": 50}).maps.isfinite().all()


@both
def test_an_image_of_one_superpixel_has_a_degenerate_map_and_costs_no_pass(name: str) -> None:
    """Between two images that are cut; no warning, and nothing of the others changes."""
    method, shown = registry.load("methods", name), []
    fit = method._fit if name == "kernel_shap" else lambda *data: lime._fit(*data, ridge=1.0)
    draw = method._copies if name == "kernel_shap" else lambda *data: lime._copies(*data, width=0.25)
    labels = cuts(IMAGES, 20)
    labels[1] = torch.zeros_like(labels[1])

    def explain(rows: list[int]) -> MapsWithDiagnostics:
        with open_image_inputs(net(), IMAGES[rows], TARGET[rows], seeds=[5 + row for row in rows]) as given:

            def scores(build, copied: Tensor) -> Tensor:
                shown.append(torch.tensor(rows)[copied])
                return given.scores(build, copied)

            own = replace(given, scores=scores)
            own_labels = [labels[row] for row in rows]
            return superpixels.explain_by_surrogate(
                ENGINES[name], own, own_labels, 60, "mean", draw, fit, underdetermined=False
            )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain([0, 1, 2])
    assert found.diagnostics["superpixels"].tolist() == [25, 1, 25]
    assert found.diagnostics["fit"].isnan().tolist() == [False, True, False]
    assert not found.maps[1].any()
    assert [STATUSES[status] for status in status_of(found.maps.numpy())] == ["ok", "degenerate", "ok"]
    assert torch.cat(shown).unique().tolist() == [0, 2]
    assert torch.equal(found.maps[[0, 2]], explain([0, 2]).maps)


@both
def test_two_segments_are_one_superpixel_so_every_map_is_degenerate(name: str) -> None:
    """SLIC makes one superpixel of a square image when it is asked for two."""
    found = compute_maps(registry.load("methods", name), net(), IMAGES, TARGET, how={"segments": 2, "samples": 100})
    assert (found.diagnostics["superpixels"] == 1).all()
    assert not found.maps.any()


@both
def test_three_segments_the_least_that_is_allowed_can_rank(name: str) -> None:
    found = compute_maps(registry.load("methods", name), net(), IMAGES, TARGET, how={"segments": 3, "samples": 100})
    assert (found.diagnostics["superpixels"] == 4).all()
    assert all(len(map_.unique()) == 4 for map_ in found.maps)
    assert "segments >= 3" in registry.load("methods", name).METHOD.limits


@both
def test_a_map_has_one_value_for_each_superpixel(name: str) -> None:
    found = compute_maps(registry.load("methods", name), net(), IMAGES, TARGET, how={"segments": 20, "samples": 100})
    for map_, labels in zip(found.maps, cuts(IMAGES, 20), strict=True):
        values = [map_[labels == number].unique() for number in range(int(labels.max()) + 1)]
        assert all(len(own) == 1 for own in values)
        assert len(torch.cat(values).unique()) > 8


@both
def test_agreement_is_spearman_s_of_two_fits_on_other_samples(name: str) -> None:
    """The first m samples, and m after them, as two short runs would have drawn them."""
    method, found = registry.load("methods", name), {}
    labels = cuts(IMAGES, 20)

    def fit(kept, scores, weights):
        found.setdefault(len(kept), []).append(own := plain(kept, scores, weights))
        return own

    plain = method._fit if name == "kernel_shap" else lambda *data: lime._fit(*data, ridge=1.0)
    draw = method._copies if name == "kernel_shap" else lambda *data: lime._copies(*data, width=0.25)
    with open_image_inputs(net(), IMAGES[:1], TARGET[:1]) as given:
        noted = superpixels.explain_by_surrogate(
            ENGINES[name], given, labels[:1], 200, "mean", draw, fit, underdetermined=False
        )
    always = draw(5, 200, torch.Generator()).in_every_fit
    for size in (25, 50, 100):
        first, second = (np.round(one[1:] / np.abs(one[1:]).max(), 9) for one in found[size + always])
        assert float(noted.diagnostics[f"agreement_{size}"][0]) == pytest.approx(spearmanr(first, second)[0], abs=1e-6)
        assert not np.allclose(first, second)


def test_more_samples_agree_better() -> None:
    found = compute_maps(lime, net(), IMAGES, TARGET, how={"segments": 20, "samples": 1600})
    assert (found.diagnostics["agreement_800"] > 0.9).all()
    assert found.diagnostics["agreement_200"].mean() < found.diagnostics["agreement_800"].mean()


def test_what_is_missing_is_filled_with_its_own_mean_or_with_grey() -> None:
    labels = cuts(IMAGES, 9)
    filled, grey = (
        superpixels.fill_superpixels(IMAGES, labels, "mean"),
        superpixels.fill_superpixels(IMAGES, labels, "grey"),
    )
    assert (grey == 0.5).all()
    for image, own, without in zip(IMAGES, labels, filled, strict=True):
        for number in range(int(own.max()) + 1):
            expected = image[:, own == number].mean(dim=1, keepdim=True).expand(-1, int((own == number).sum()))
            assert_close(without[:, own == number], expected)


def test_the_model_is_shown_what_is_kept_and_nothing_else() -> None:
    labels, seen = cuts(IMAGES, 6), []
    with open_image_inputs(net(), IMAGES, TARGET, seeds=[1, 2, 3]) as given:

        def scores(build, rows: Tensor) -> Tensor:
            seen.append((build(slice(0, len(rows))), rows))
            return given.scores(build, rows)

        lime.attribute(replace(given, scores=scores), segments=6, samples=40)
    images, rows = (torch.cat(part) for part in zip(*seen, strict=True))
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    filled, start = superpixels.fill_superpixels(IMAGES, labels, "mean"), 0
    for row, draw in enumerate(draws):
        kept = lime._copies(int(labels[row].max()) + 1, 40, draw, width=0.25).kept
        for number in (0, 5, 40):
            there = torch.from_numpy(kept[number])[labels[row]].bool()
            assert torch.equal(images[start + number], torch.where(there, IMAGES[row], filled[row]))
        assert (rows[start : start + 41] == row).all()
        start += 41


def test_a_grey_image_is_cut_as_the_colour_image_it_looks_like() -> None:
    grey = IMAGES[:, :1]
    alike = zip(
        cuts(grey, 20),
        cuts(grey.expand(-1, 3, -1, -1), 20),
        strict=True,
    )
    assert all(torch.equal(one, two) for one, two in alike)
