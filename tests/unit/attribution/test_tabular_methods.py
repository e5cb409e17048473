"""Methods for tables: Shapley values by enumeration against a slow literal formula, additivity, and what random numbers may change."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from small_tables import KINDS, attribute, explain, explained, model

from gradfaith import registry
from gradfaith.attribution.tabular.contract import MethodUseOnTable

ADDITIVE = [
    name
    for name, entry in registry.entries("table_methods").items()
    if entry.declared.get("additive", False) and name != "tree_shap"  # tests/cross: it needs the package shap
]


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("use", KINDS)
@pytest.mark.parametrize("method", ADDITIVE)
def test_the_numbers_of_an_additive_method_add_up(use: str, task: str, method: str) -> None:
    given = explained(use, task, rows=3)
    if not MethodUseOnTable(method, {}).applies_to(given.model, given.features):
        pytest.skip("it reads what this model does not have")
    total = attribute(given, method).sum(axis=1)
    expected = given.model.answers(given.rows) - given.mean_answer()
    assert total == pytest.approx(expected, abs=2e-5)


def test_enumerated_values_are_the_mean_over_all_orders() -> None:
    """The definition itself, order by order, on the first four features; the others stay as they are."""
    given = explained("feed_forward", rows=1, background=3)
    small = given.background.copy()
    small[:, 4:] = given.rows[0, 4:]  # so the other five features cannot count
    given = replace(given, background=small)
    literal = np.zeros(9)
    orders = list(permutations(range(4)))
    for order in orders:
        mask = np.zeros((1, 9), dtype=bool)
        before = given.coalition_values(given.rows[0], mask)[0]
        for feature in order:
            mask[0, feature] = True
            after = given.coalition_values(given.rows[0], mask)[0]
            literal[feature] += (after - before) / len(orders)
            before = after
    assert attribute(given, "exact_shapley")[0] == pytest.approx(literal, abs=1e-6)


def test_the_exact_values_of_a_linear_model_are_its_terms() -> None:
    given = explained("linear")
    encoding, weights = given.model.encoding, given.model.tensors["coefficients"]
    terms = (encoding.encode(given.rows) - encoding.encode(given.background).mean(axis=0)) * weights
    expected = np.stack([terms[:, encoding.owner == feature].sum(axis=1) for feature in range(9)], axis=1)
    assert attribute(given, "exact_shapley") == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("use", KINDS)
def test_kernel_shap_with_all_coalitions_is_exact_and_with_few_is_near(use: str) -> None:
    given = explained(use, rows=3)
    exact = attribute(given, "exact_shapley")
    assert attribute(given, "kernel_shap", samples=512) == pytest.approx(exact, abs=1e-6)
    few = attribute(given, "kernel_shap", samples=400)
    assert not np.allclose(few, exact, atol=1e-12) or use == "linear"  # a linear game has no sampling error
    assert np.abs(few - exact).max() < 0.25 * np.abs(exact).max()


def test_deep_shap_is_near_the_exact_values_of_a_network() -> None:
    given = explained("feed_forward", "regression")
    exact, deep = attribute(given, "exact_shapley"), attribute(given, "deep_shap")
    assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(exact, deep, strict=True)) > 0.95


def test_probabilities_are_explained_too() -> None:
    given = explained("feed_forward", scale="probability")
    assert ((given.model.answers(given.rows) >= 0) & (given.model.answers(given.rows) <= 1)).all()
    for method in ("exact_shapley", "kernel_shap", "deep_shap"):
        total = attribute(given, method).sum(axis=1)
        assert total == pytest.approx(given.model.answers(given.rows) - given.mean_answer(), abs=2e-5)


@pytest.mark.parametrize("method", [name for name in registry.names("table_methods") if name != "tree_shap"])
def test_only_methods_that_draw_differ_between_runs(method: str) -> None:
    given = explained("feed_forward", rows=2)
    draws = registry.entry("table_methods", method).declared.get("draws", False)
    options = {name: option.default for name, option in registry.entry("table_methods", method).options.items()}
    runs = explain(given, {"one": MethodUseOnTable(method, options)}).query("method == 'one'")
    first, second = (runs[runs["repeat"] == repeat].filter(regex="^x:").to_numpy() for repeat in (0, 1))
    assert np.array_equal(first, second) == (not draws)


def test_each_trained_model_gets_random_numbers_of_its_own() -> None:
    given = explained("linear", rows=3)
    uses = {name: MethodUseOnTable(name, {}) for name in ("random", "deviation")}
    first, again, other = (explain(given, uses, model_seed=seed).set_index("method") for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(first.loc[["deviation"]], other.loc[["deviation"]])
    numbers = [table.loc["random"].filter(regex="^x:").to_numpy() for table in (first, other)]
    assert not np.isclose(*numbers).any(), "otherwise two seeds would agree in the method's own noise"


def test_shuffled_copies_keep_the_numbers_of_a_row_and_controls_have_none() -> None:
    given = explained("linear", rows=3)
    uses = {
        "kernel_shap": MethodUseOnTable("kernel_shap", {"samples": 64}),
        "deviation": MethodUseOnTable("deviation", {}),
    }
    runs = explain(given, uses)
    assert set(runs["method"]) == {"kernel_shap", "shuffled-kernel_shap", "deviation"}
    own = runs[(runs["method"] == "kernel_shap") & (runs["repeat"] == 0)].filter(regex="^x:").to_numpy()
    copies = runs[runs["method"] == "shuffled-kernel_shap"]
    assert sorted(copies["copy"].unique()) == [0, 1, 2, 3, 4]
    for copy in range(5):
        shuffled = copies[copies["copy"] == copy].filter(regex="^x:").to_numpy()
        assert np.sort(shuffled, axis=1) == pytest.approx(np.sort(own, axis=1))
        assert not np.allclose(shuffled, own)


def test_a_method_is_skipped_where_the_model_lacks_what_it_reads() -> None:
    assert not MethodUseOnTable("deep_shap", {}).applies_to(model("linear"), 9)
    assert not MethodUseOnTable("tree_shap", {}).applies_to(model("feed_forward"), 9)
    assert MethodUseOnTable("tree_shap", {}).applies_to(model("boosted_trees"), 9)
    assert not MethodUseOnTable("exact_shapley", {}).applies_to(model("linear"), 13)
