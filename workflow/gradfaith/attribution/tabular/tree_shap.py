"""Tree SHAP: exact Shapley values of trees [lundberg2020], by the package `shap` (extra `shap`).

The interventional form, which takes the same game as the other Shapley methods: features outside a coalition come from the
background rows. Our trees are handed over as plain arrays. Only on the scale of the raw score: log-odds, or the value of a
regression. Cost: a fraction of a millisecond per row, tree and background row.
"""

from importlib import import_module

import numpy as np

from gradfaith.attribution.tabular.contract import ExplainedRows, TabularMethod
from gradfaith.errors import MissingPackage
from gradfaith.models.tabular.contract import Matrix

METHOD = TabularMethod(additive=True, inside="trees")


def attribute(given: ExplainedRows) -> Matrix:
    """Return the exact Shapley values of the trees."""
    try:
        shap = import_module("shap")
    except ImportError as error:
        raise MissingPackage(
            problem=f"method tree_shap needs the package shap, which cannot be imported ({error}).",
            reason="Tree SHAP is computed by shap; it is an extra of GradFaith.",
            fix="Run `pip install 'gradfaith[shap]'`, or use exact_shapley, which gives the same numbers for up to 12 features.",
        ) from error
    arrays = given.model.tensors
    trees = [
        {
            "children_left": left, "children_right": right, "children_default": left, "features": np.maximum(feature, 0),
            "thresholds": threshold, "values": value[:, None], "node_sample_weight": np.ones(len(left)),
        }
        for left, right, feature, threshold, value in zip(
            *(arrays[name] for name in ("left", "right", "feature", "threshold", "value")), strict=True
        )
    ]  # fmt: skip
    single = (given.background.astype(np.float32), given.rows.astype(np.float32))
    explainer = shap.TreeExplainer(
        {"trees": trees, "base_offset": 0.0}, data=single[0], feature_perturbation="interventional"
    )
    found = explainer.shap_values(single[1], check_additivity=False)
    return np.asarray(found, dtype=np.float64).reshape(given.rows.shape) * given.model.factor
