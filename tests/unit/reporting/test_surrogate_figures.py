"""The figures of the surrogates: read back from what was drawn, and honest where there is nothing to draw."""

from pathlib import Path

import numpy as np
import pytest
from drawn_panels import intervals, points
from matplotlib.text import Text
from small_study import SmallStudy

from gradfaith.reporting.figures import convergence, superpixels, theme
from gradfaith.storage.hdf5 import MapStore


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return SmallStudy(tmp_path_factory.mktemp("surrogates"))


def stores(world: SmallStudy, arch: str) -> list[Path]:
    return [Path(path) for path in world.inputs["maps"] if f"/{arch}/" in path]


def test_a_point_is_the_median_over_the_images_of_all_seeds(world: SmallStudy) -> None:
    with theme.use_theme():
        figure = world.draw("convergence")
    (panel,) = (axes for axes in figure.axes if axes.get_title(loc="left") == "lime")
    noted = []
    for path in stores(world, "efficientvit_b0"):
        with MapStore(path) as maps:
            noted += [maps.notes("lime")["agreement_250"]]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["125", "250", "500"]
    (point,) = [point for point in points(panel) if point.edge == theme.COLOURS[1].lower() and round(point.x) == 1]
    assert point.y == pytest.approx(np.median(np.concatenate(noted)))
    bars = [[low[1], high[1]] for low, high in intervals(panel) if low[0] == point.x]
    assert bars == [pytest.approx(np.quantile(np.concatenate(noted), [0.25, 0.75]))]


def test_only_maps_of_the_predicted_class_count_and_those_without_a_value_do_not(world: SmallStudy) -> None:
    with MapStore(stores(world, "resnet10t")[0]) as maps:
        maps.rows.loc[:9, "role"] = "true"
        table = convergence.collect_agreements({("a", 3, "b"): maps})
        kept = maps.notes("kernel_shap")["agreement_125"][10:]
    own = table[(table["method"] == "kernel_shap") & (table["samples"] == 125)]
    assert np.array_equal(own["value"], kept)
    assert set(own["arch"]) == {"a"}
    assert set(own["seed"]) == {3}


def test_the_strongest_of_either_sign_are_shown_and_a_weight_of_nothing_is_not() -> None:
    weights = np.array([[0.0, 3.0, -5.0], [1.0, -0.5, 0.2]], dtype=np.float32)
    found = superpixels.strongest_superpixels(weights.repeat(2, axis=0), 3)
    assert [weight for weight, _ in found] == [-5, 3, 1]
    assert np.array_equal(found[0][1], (weights == -5).repeat(2, axis=0))
    assert len(superpixels.strongest_superpixels(weights, 10)) == 5


def test_signs_are_told_by_hatch_as_well_as_by_colour(world: SmallStudy) -> None:
    with theme.use_theme():
        figure = world.draw("superpixels", strongest=5, images=3)
    cells = [axes for axes in figure.axes if "superpixels" in axes.get_xlabel()]
    assert len(cells) == 6
    for axes in cells:
        marks = [mark.hatches[0] for mark in axes.collections if getattr(mark, "hatches", [None])[0]]
        assert len(marks) == 5
        assert set(marks) <= {"+++", "---"}
        assert axes.get_xlim() == (-0.5, 47.5), "the picture keeps its frame"


@pytest.mark.parametrize(("name", "words"), [("convergence", "nothing to converge"), ("superpixels", "No method")])
def test_a_study_without_surrogates_gets_a_page_that_says_so(
    world: SmallStudy, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setattr(MapStore, "notes", lambda _maps, _label: {})
    with theme.use_theme():
        figure = world.draw(name)
    assert any(words in " ".join(text.get_text().split()) for text in figure.findobj(Text))
