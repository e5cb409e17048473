"""Nothing but the lesions tells the class: probes that see everything else stay at chance on unseen patients.

Under chance a patient is right with probability 1/3, and slices of one patient stand and fall together, so the balanced
accuracy of G patients has a standard error of sqrt(2 / 9 / G). The bound is chance plus three of them.
"""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from gradfaith.data.phantom import lesion_paint, lesions
from gradfaith.data.phantom.geometry import patient_frame
from gradfaith.data.readers import phantom

PATIENTS = 60
BOUND = 1 / 3 + 3 * np.sqrt(2 / 9 / (3 * PATIENTS))


def population(**options):
    settings = phantom.Options(patients_per_class=PATIENTS, slices_per_patient=2, **options)
    records = list(phantom.index(None, settings))
    pixels = np.stack([phantom.read(None, settings, record, None).pixels for record in records]).astype(np.float32)
    return pixels, [record.label for record in records], [record.group for record in records]


def grouped(model, features, labels, groups):
    """Balanced accuracy on unseen patients, mean of three shuffles."""
    folds = [StratifiedGroupKFold(5, shuffle=True, random_state=seed) for seed in range(3)]
    guesses = [cross_val_predict(model, features, labels, groups=groups, cv=fold) for fold in folds]
    return float(np.mean([balanced_accuracy_score(labels, guess) for guess in guesses]))


def thumbnails(pixels):
    return ndimage.zoom(pixels, (1, 32 / pixels.shape[1], 32 / pixels.shape[2]), order=1).reshape(len(pixels), -1)


def noise(pixels):
    grain = np.abs(pixels - ndimage.uniform_filter(pixels, (0, 3, 3)))
    return np.stack([np.median(grain, axis=(1, 2)), pixels[:, :10].std(axis=(1, 2))], 1)


def intensities(pixels):
    shares = [(pixels > low).mean(axis=(1, 2)) for low in (15, 80, 120, 220)]
    return np.stack(
        [
            pixels.mean(axis=(1, 2)),
            pixels.std(axis=(1, 2)),
            *shares,
            *np.percentile(pixels, [25, 50, 75, 95], axis=(1, 2)),
        ],
        1,
    )


@pytest.fixture(scope="module")
def plain():
    return population()


def shallow():
    return DecisionTreeClassifier(max_depth=4, random_state=0)


def test_the_nearest_neighbour_is_at_chance(plain):
    pixels, labels, groups = plain
    assert grouped(KNeighborsClassifier(1), thumbnails(pixels), labels, groups) < BOUND


def test_the_nearest_neighbour_knows_the_patient_when_it_has_seen_it(plain):
    """The leak that splitting by group prevents: half of each patient's slices tell the other half."""
    pixels, labels, _ = plain
    features = thumbnails(pixels)
    model = KNeighborsClassifier(1).fit(features[::2], labels[::2])
    assert balanced_accuracy_score(labels[1::2], model.predict(features[1::2])) > 0.9


def test_the_noise_probe_is_at_chance(plain):
    pixels, labels, groups = plain
    assert grouped(shallow(), noise(pixels), labels, groups) < BOUND


def test_a_shallow_tree_on_means_areas_and_intensities_learns_little(plain):
    pixels, labels, groups = plain
    assert grouped(shallow(), intensities(pixels), labels, groups) < 0.6


def test_the_true_size_of_the_lesion_tells_little_of_its_class():
    """Size 0 is normal, so a tree that separates benign from malignant by chance has 2/3; perfect separation has 1.

    One population of 60 patients per class scatters by 0.03, so this test takes the mean of three.
    """
    found = []
    for seed in range(3):
        sizes, labels, groups = lesion_sizes(seed)
        found.append([grouped(shallow(), sizes[:, [column]], labels, groups) for column in range(2)])
    assert (np.mean(found, axis=0) > 0.6).all()
    assert (np.mean(found, axis=0) < 0.75).all()


def lesion_sizes(seed):
    """Area of the evidence at 96 pixels, and largest diameter, for two slices of each patient of a population."""
    on, lungs, rows, labels, groups = patient_frame(96), np.ones((96, 96), np.float32), [], [], []
    for patient, label in itertools.product(range(PATIENTS), ("normal", "benign", "malignant")):
        number = 3 * patient + ("normal", "benign", "malignant").index(label)
        items = lesions.draw_lesions(seed, number, label, 0.35) if label != "normal" else ()
        for z in (-1.25 * lesions.MM, 1.25 * lesions.MM):
            parts = [lesion_paint.paint_lesion(np.full_like(lungs, -850), item, z, lungs, on) for item in items]
            area = np.logical_or.reduce(parts).sum() if parts else 0
            rows.append((area, max((item.about.diameter_mm for item in items), default=0)))
            labels.append(label)
            groups.append(f"{label}-{patient}")
    return np.array(rows), labels, groups


def test_the_noise_probe_finds_a_kernel_tied_to_the_class():
    pixels, labels, groups = population(shortcut={"kind": "kernel", "strength": 1.0}, size=64)
    assert grouped(shallow(), noise(pixels), labels, groups) > 0.8


def test_a_kernel_of_strength_zero_changes_nothing(plain):
    record = next(phantom.index(None, phantom.Options()))
    options = phantom.Options(
        shortcut={"kind": "kernel", "strength": 0.0}, patients_per_class=PATIENTS, slices_per_patient=2
    )
    np.testing.assert_array_equal(phantom.read(None, options, record, None).pixels, plain[0][0].astype(np.uint8))
