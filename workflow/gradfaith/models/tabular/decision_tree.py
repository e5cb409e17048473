"""One small decision tree, which a person can read: a reference whose reasons are its own branches.

A leaf of a classification answers the log-odds of its rows, with half a row of each class added, so that a pure leaf stays
finite. Source: scikit-learn's DecisionTreeClassifier and DecisionTreeRegressor. Cost: milliseconds.
"""

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from gradfaith.models.tabular.contract import (
    Encoding,
    Matrix,
    TableModel,
    Tensors,
    TrainingTable,
    ask_trees,
    trees_as_arrays,
)

MODEL = TableModel(inside="trees", limits=("depth >= 1", "leaf >= 1"))


def fit(data: TrainingTable, *, depth: int = 4, leaf: int = 20) -> Tensors:
    """Return the tree. `depth`: of the longest branch; `leaf`: fewest training rows in a leaf."""
    kind = DecisionTreeClassifier if data.classification else DecisionTreeRegressor
    model = kind(max_depth=depth, min_samples_leaf=leaf, random_state=data.seed).fit(data.rows, data.target)

    def answer(tree: object) -> Matrix:
        shares = tree.value[:, 0]  # type: ignore[attr-defined]  # (nodes, classes or 1)
        if not data.classification:
            return np.asarray(shares[:, 0])
        counts = shares * tree.n_node_samples[:, None]  # type: ignore[attr-defined]
        return np.asarray(np.log(counts[:, 1] + 0.5) - np.log(counts[:, 0] + 0.5))

    return trees_as_arrays([model.tree_], answer)


def predict(tensors: Tensors, rows: Matrix, encoding: Encoding) -> Matrix:  # noqa: ARG001 - trees read the rows themselves
    """Return the raw score of each row."""
    return ask_trees(tensors, rows)
