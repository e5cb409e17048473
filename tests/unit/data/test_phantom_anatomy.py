"""The phantom's tissues and scanner are those of a CT: densities, textures, edges, airways, windows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from gradfaith.data.phantom import chest, ct_slices, geometry, lung_trees, scanner
from gradfaith.data.phantom.ct_slices import SliceSpec

CUT = SliceSpec(seed=5, patient=0, label="normal", slice=1, slices=4, size=160, difficulty=0.35)
PATIENTS = range(8)


def drawn(patient, **changed):
    return ct_slices.draw_slice(replace(CUT, patient=patient, **changed))


def test_aerated_lung_is_not_black_and_denser_at_the_back():
    """About -850 HU before vessels; a lying patient's lung is denser where it is compressed."""
    behind = []
    for patient in PATIENTS:
        truth = drawn(patient)
        aerated = ndimage.binary_erosion(truth.lungs, np.ones((5, 5))) & (truth.hounsfield < -720)
        assert -885 < np.median(truth.hounsfield[aerated]) < -785
        assert 12 < truth.hounsfield[aerated].std() < 60
        rows = np.nonzero(aerated)[0]
        low, high = np.quantile(rows, [0.25, 0.75])
        values = truth.hounsfield[aerated]
        behind.append(np.median(values[rows > high]) - np.median(values[rows < low]))
    assert min(behind) > 0
    assert 10 < np.mean(behind) < 80


def test_fat_and_muscle_are_two_peaks():
    counts = np.zeros(4)
    for patient in PATIENTS:
        truth = drawn(patient)
        wall = truth.hounsfield[truth.body & ~ndimage.binary_dilation(truth.lungs, iterations=2)]
        counts += np.histogram(wall, [-130, -80, -20, 20, 80])[0]
    assert counts[0] > 2 * counts[2]
    assert counts[3] > 2 * counts[2]


def test_a_bronchus_runs_beside_an_artery():
    found = 0
    for patient in PATIENTS:
        trees = lung_trees.grow_trees(0, patient, 0.35)
        vessels = np.stack([trees.vessels.x, trees.vessels.y, trees.vessels.z], 1)
        lumens = np.stack([trees.bronchi.x, trees.bronchi.y, trees.bronchi.z], 1)
        inside = np.flatnonzero(np.abs(trees.bronchi.z) < 0.05)[::20]
        for lumen, radius in zip(lumens[inside], trees.bronchi.radius[inside], strict=True):
            assert np.sqrt(((vessels - lumen) ** 2).sum(axis=1)).min() < 3.5 * radius + 1e-3
            found += 1
    assert found > 50


def test_a_lumen_is_dark_inside_a_wall():
    patient = next(p for p in range(40) if len(lung_trees.grow_trees(0, p, 0.35).bronchi.x) > 200)
    trees, on = lung_trees.grow_trees(0, patient, 0.35), geometry.patient_frame(224)
    walls, lumens = lung_trees.bronchus_section(trees, 0.0, on)
    assert lumens.sum() > 5
    assert walls.sum() > 1.2 * lumens.sum()
    assert (walls >= lumens - 1e-6).mean() > 0.999


@pytest.mark.parametrize("tissue", ["lung", "lobule", "fat"])
def test_a_texture_keeps_its_spectrum_and_changes_slowly(tissue):
    waves = chest.draw_waves(0, 3)
    one, near, far = (geometry.texture(tissue, 160, waves, z) for z in (0.0, 0.005, 0.17))
    for field in (one, near, far):
        assert abs(field.mean()) < 0.15
        assert 0.75 < field.std() < 1.25
    assert np.corrcoef(one.ravel(), near.ravel())[0, 1] > 0.95
    assert np.corrcoef(one.ravel(), far.ravel())[0, 1] < 0.6


def test_a_patient_is_the_same_at_any_size():
    for patient in range(4):
        small, large = drawn(patient, size=96).hounsfield, drawn(patient, size=192).hounsfield
        halved = large.reshape(96, 2, 96, 2).mean(axis=(1, 3))
        assert np.corrcoef(small.ravel(), halved.ravel())[0, 1] > 0.99


def edge_width(kernel):
    """The 10 to 90 % width, in pixels, of a slanted edge that the scanner sees."""
    on = geometry.patient_frame(128, tilt=0.2)
    how = scanner.draw_scan_settings(0, 1, kernel)
    seen = scanner.blur(geometry.pixel_coverage(on.x, on.pixel), how.spread)[8:-8, 8:-8]
    away = -on.x[8:-8, 8:-8] / np.float32(on.pixel)
    steps = np.arange(-2, 2, 0.1)
    profile = [np.mean(seen[(away > step) & (away <= step + 0.1)]) for step in steps]
    first = [float(np.interp(level, profile, steps)) for level in (0.1, 0.9)]
    return first[1] - first[0]


def test_edges_are_about_a_pixel_wide_and_the_kernel_sets_them():
    soft, medium, sharp = (edge_width(kernel) for kernel in ("soft", "medium", "sharp"))
    assert soft > medium > sharp
    assert sharp > 0.5
    assert soft < 1.8


def test_a_blur_keeps_the_mean_and_reaches_one_pixel():
    section = np.zeros((9, 9), np.float32)
    section[4, 4] = 1
    for spread in (0.12, 0.05, -0.05):
        seen = scanner.blur(section, spread)
        assert seen.sum() == pytest.approx(1, abs=1e-6)
        assert seen[2].any() == seen[:, 6].any() == False  # noqa: E712 - three arrays agree


def test_noise_is_weaker_in_air_and_streaks_join_the_shoulders():
    how = scanner.draw_scan_settings(0, 1, "medium")
    flat = np.full((128, 128), 0, np.float32)

    def seen(shoulders):
        return scanner.scan(
            flat, replace(how, circular=False, streaks=1.0), shoulders, (0.0, 0.0), np.random.default_rng(0)
        )

    plain, streaked = seen(0.0), seen(1.0)
    assert plain[:10].std() < 0.65 * plain[50:80, 50:80].std()
    rows = (streaked - plain)[40:100, 40:90]
    assert rows.std(axis=1).mean() < 0.5 * rows.mean(axis=1).std()
    assert rows.mean() < -3


def test_a_circular_field_of_view_shows_nothing_outside():
    how, flat = scanner.draw_scan_settings(0, 1, "medium"), np.full((64, 64), -1000, np.float32)
    for circular in (True, False):
        seen = scanner.scan(flat, replace(how, circular=circular), 0.0, (0.0, 0.0), np.random.default_rng(0))
        assert (np.ptp(seen[:3, :3]) == 0) == circular


@pytest.mark.parametrize(
    ("window", "greys"),
    [("lung", [42, 68, 196, 221, 255]), ("wide", [8, 32, 151, 175, 215]), ("mediastinum", [0, 0, 38, 134, 255])],
)
def test_a_window_maps_hounsfield_units_to_grey(window, greys):
    tissues = np.array([[-1000, -850, -100, 50, 300]], np.float32)
    assert scanner.export_grey(tissues, window).tolist() == [greys]


def test_no_slice_cuts_only_the_tip_of_a_dome():
    """It would look like a lesion that is no evidence."""
    found = 0
    for patient in range(300):
        anatomy = chest.draw_anatomy(0, patient)
        for z in (-0.02, 0.0, 0.02):
            for dome in chest.domes(anatomy, z):
                assert dome.across > 0.1
                found += 1
    assert found > 30
