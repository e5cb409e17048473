"""Methods for tables against the packages `shap` and `lime`, on the same models and the same rows."""

import lime.lime_tabular
import numpy as np
import pytest
import shap
import torch
from small_tables import attribute, explained

from gradfaith.attribution.tabular.contract import ExplainedRows
from gradfaith.models.tabular.contract import Matrix
from gradfaith.models.tabular.feed_forward import network_of


@pytest.mark.parametrize("use", ["feed_forward", "boosted_trees"])
def test_kernel_shap_with_every_coalition_is_that_of_shap(use: str) -> None:
    given = explained(use, rows=3)
    peer = shap.KernelExplainer(given.model.answers, given.background)
    theirs = peer.shap_values(given.rows, nsamples=2**given.features, l1_reg=False, silent=True)
    assert attribute(given, "kernel_shap", samples=2**given.features) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_values_of_trees_are_the_enumerated_ones(task: str) -> None:
    given = explained("boosted_trees", task, rows=4)
    assert attribute(given, "tree_shap") == pytest.approx(attribute(given, "exact_shapley"), abs=1e-4)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_deep_shap_is_that_of_shap_beside_the_enumerated_values(task: str) -> None:
    given = explained("feed_forward", task, rows=4)
    encode, owner = given.model.encoding.encode, given.model.encoding.owner
    single = [torch.from_numpy(encode(rows).astype(np.float32)) for rows in (given.background, given.rows)]
    peer = shap.DeepExplainer(network_of(given.model.tensors), single[0])
    columns = np.asarray(peer.shap_values(single[1]), dtype=np.float64).reshape(len(single[1]), -1) * given.model.factor
    theirs = np.stack([columns[:, owner == feature].sum(axis=1) for feature in range(given.features)], axis=1)
    ours, exact = attribute(given, "deep_shap"), attribute(given, "exact_shapley")
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(ours, exact, strict=True)) > 0.95


def by_lime(given: ExplainedRows, samples: int, seed: int) -> Matrix:
    """Return the package's coefficients of all features."""
    categories = [feature for feature in range(given.features) if given.is_category(feature)]
    peer = lime.lime_tabular.LimeTabularExplainer(
        given.training, mode="regression", categorical_features=categories, discretize_continuous=True,
        discretizer="quartile", feature_selection="none", random_state=seed,
    )  # fmt: skip
    found = np.zeros(given.rows.shape)
    for place, row in enumerate(given.rows):
        told = peer.explain_instance(row, given.model.answers, num_features=given.features, num_samples=samples)
        for feature, value in told.as_map()[1]:
            found[place, feature] = value
    return found


@pytest.mark.parametrize("use", ["linear", "boosted_trees"])
def test_lime_differs_from_the_package_by_no_more_than_the_package_from_itself(use: str) -> None:
    given = explained(use, rows=3)
    one, other = by_lime(given, 4000, 0), by_lime(given, 4000, 1)
    ours = attribute(given, "lime", samples=4000)
    noise, scale = np.abs(one - other).max(), np.abs(one).max()
    assert np.abs(ours - (one + other) / 2).max() < 2 * noise + 0.02 * scale
