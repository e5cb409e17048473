"""The shortcut probe finds a planted kernel and says chance where there is none; harmonising takes it away."""

import numpy as np
import pandas as pd
import pytest

from gradfaith.data.audit import shortcuts
from gradfaith.data.fit import Harmoniser
from gradfaith.data.readers import phantom


def population(strength: float, low_pass: float = 0.0) -> dict:
    mark = phantom.Shortcut(kind="kernel", strength=strength, where="both")
    options = phantom.Options(size=96, patients_per_class=14, slices_per_patient=1, seed=2, shortcut=mark)
    records, smooth = list(phantom.index(None, options)), Harmoniser(low_pass=low_pass)
    pictures = [smooth(phantom.read(None, options, record, None).pixels[None])[0] for record in records]
    table = pd.DataFrame([shortcuts.image_features(picture) for picture in pictures])[["noise", "air_std"]]
    return shortcuts.shortcut_probe(
        table, pd.Series([r.label for r in records]), pd.Series([r.group for r in records]), 0
    )


@pytest.fixture(scope="module")
def planted() -> dict:
    return population(1.0)


def test_a_kernel_that_goes_with_the_class_is_found(planted: dict) -> None:
    found = planted["noise"]
    assert found["balanced_accuracy"] > 0.8
    assert found["balanced_accuracy"] > found["null"]
    assert max(found["one_vs_rest"].values()) > 0.85


def test_where_nothing_is_planted_the_noise_is_within_the_null() -> None:
    found = population(0.0)["noise"]
    assert found["balanced_accuracy"] < 0.55
    assert found["chance"] == pytest.approx(1 / 3)


def test_a_low_pass_shrinks_the_shortcut(planted: dict) -> None:
    assert population(1.0, low_pass=4.0)["noise"]["balanced_accuracy"] < planted["noise"]["balanced_accuracy"]


def test_a_class_with_one_group_is_undefined_and_a_constant_feature_is_not_asked() -> None:
    table = pd.DataFrame({"noise": np.arange(6.0), "air_std": 1.0, "width": 5, "height": 5, "aspect": 1.0})
    found = shortcuts.shortcut_probe(table, pd.Series(list("aaabbb")), pd.Series(list("ppqrrr")), 0)
    assert set(found) == {"noise"}
    assert found["noise"]["status"] == "undefined"


def test_file_features_are_bits_per_pixel() -> None:
    found = shortcuts.file_features(pd.DataFrame({"width": [10], "height": [20], "bytes": [100]}))
    assert found["bits_per_pixel"].tolist() == [4.0]
    assert found["aspect"].tolist() == [0.5]


def test_harmonising_is_nothing_by_default_and_moves_nothing() -> None:
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 255, (1, 64, 64), dtype=np.uint8)
    np.testing.assert_array_equal(Harmoniser()(picture), picture)
    spot = np.zeros((1, 64, 64), np.uint8)
    spot[0, 20:29, 40:49] = 200
    for how in (Harmoniser(low_pass=2.0), Harmoniser(resample=32), Harmoniser(jpeg=80), Harmoniser(1.0, 32, 90)):
        found = how(spot)[0].astype(float)
        assert found.shape == (64, 64)
        assert not np.array_equal(how(picture), picture)
        y, x = np.mgrid[:64, :64]
        assert (found * y).sum() / found.sum() == pytest.approx(24, abs=0.3)
        assert (found * x).sum() / found.sum() == pytest.approx(44, abs=0.3)
