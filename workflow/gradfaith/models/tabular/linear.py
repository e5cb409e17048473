"""A linear model: logistic regression, or ridge regression. Its exact Shapley values are its terms, so it is a reference.

    raw score = b + sum over encoded columns of w * value

Source: scikit-learn's LogisticRegression (lbfgs) and Ridge. Cost: milliseconds.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from gradfaith.models.tabular.contract import Encoding, Matrix, TableModel, Tensors, TrainingTable

MODEL = TableModel(limits=("penalty > 0",))


def fit(data: TrainingTable, *, penalty: float = 1.0) -> Tensors:
    """Return coefficients and constant. `penalty`: the weight of the squared coefficients."""
    rows = data.encoding.encode(data.rows)
    model = LogisticRegression(C=1 / penalty, max_iter=2000) if data.classification else Ridge(alpha=penalty)
    model.fit(rows, data.target)
    return {"coefficients": np.ravel(model.coef_), "constant": np.ravel(model.intercept_)}


def predict(tensors: Tensors, rows: Matrix, encoding: Encoding) -> Matrix:
    """Return the raw score of each row."""
    return np.asarray(encoding.encode(rows) @ tensors["coefficients"] + tensors["constant"][0])
