"""Models of tables: they learn, their stored arrays answer as scikit-learn does, and their files are checked."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor
from small_tables import KINDS, matrix, model, table, training

from gradfaith.errors import ModelUnusable
from gradfaith.models.tabular.contract import Encoding, load_model, save_model


@pytest.mark.parametrize("use", KINDS)
def test_each_learns_more_than_the_most_frequent_class(use: str) -> None:
    encoded = table(people=400)
    target = encoded.rows["target"].to_numpy()
    held = slice(int(0.8 * len(target)), None)
    right = ((model(use, people=400).raw(matrix(encoded)[held]) > 0) == target[held]).mean()
    assert right > max(target[held].mean(), 1 - target[held].mean()) + 0.1


def test_the_trees_answer_as_scikit_learn_does() -> None:
    data, rows = training(table()), matrix(table())
    peer = GradientBoostingClassifier(n_estimators=15, max_depth=3, subsample=0.8, random_state=0).fit(
        data.rows, data.target
    )
    assert model("boosted_trees").raw(rows) == pytest.approx(peer.decision_function(rows), abs=1e-9)
    data, rows = training(table("regression")), matrix(table("regression"))
    unit = (
        data.target - data.target.mean()
    ) / data.target.std()  # the same rounding, so equal gains choose the same split
    back = lambda values: values * data.target.std() + data.target.mean()  # noqa: E731
    peer = GradientBoostingRegressor(n_estimators=15, max_depth=3, subsample=0.8, random_state=0).fit(data.rows, unit)
    assert model("boosted_trees", "regression").raw(rows) == pytest.approx(back(peer.predict(rows)), abs=1e-9)
    tree = DecisionTreeRegressor(max_depth=4, min_samples_leaf=20, random_state=0).fit(data.rows, unit)
    assert model("decision_tree", "regression").raw(rows) == pytest.approx(back(tree.predict(rows)), abs=1e-9)


@pytest.mark.parametrize("use", KINDS)
def test_a_stored_model_answers_as_before_and_a_changed_file_is_refused(use: str, tmp_path: Path) -> None:
    weights, card, rows = tmp_path / "w.safetensors", tmp_path / "card.json", matrix(table())
    save_model(weights, card, model(use), {"arch": use, "seed": 0})
    assert np.array_equal(load_model(weights, card, "logit").answers(rows), model(use).answers(rows))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelUnusable, match="SHA-256 differ"):
        load_model(weights, card, "logit")


def test_categories_become_columns_of_their_own_and_numbers_are_standardised() -> None:
    rows = np.array([[1.0, 0.0], [3.0, 2.0], [5.0, 1.0]])
    encoding = Encoding.of(rows, (0, 3))
    assert encoding.encode(rows)[:, 1:] == pytest.approx(np.eye(3)[[0, 2, 1]])
    assert encoding.encode(rows)[:, 0].mean() == pytest.approx(0)
    assert list(encoding.owner) == [0, 1, 1, 1]
