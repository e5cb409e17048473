"""Predict with one model: logits, probabilities before and after calibration, and the time per image.

    p = softmax(logits / T),   T = argmin of the validation images' mean negative log-likelihood          [guo2017]

Temperature scaling does not change the order of the classes, so no map and no prediction changes. The likelihood is convex
in 1 / T and has one minimum, which bounded Brent steps on log T find, the same every time. If every validation image is
classified correctly, the optimum is T = 0, and the search stops at the lower bound. A T on a bound means that the validation
part is too easy or too small for calibration. Raw probabilities are stored beside the calibrated ones.

T is fitted on the validation part. A model that was adopted from another study keeps the T that was fitted there. Without
either, T is 1. If classes combine several outputs (models/classifier.py), T divides the outputs' logits before they are
merged, and the prediction uses the raw logits; with one output per class both are the same.

The time per image is measured as in the paper: batch 1, median of the rounds after a warm-up, with synchronisation.
The image is already on the device, so disk and transfer are not included; report the device beside the number.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from gradfaith.models.classifier import Classifier
from gradfaith.models.heads import ClassMap, merge_outputs
from gradfaith.models.training.image_source import PackedImages
from gradfaith.runtime import device as devices
from gradfaith.runtime.device import AdaptiveBatch, BatchLimit, synchronise
from gradfaith.storage.hdf5 import ImageStore


def prediction_table(
    model: Classifier,
    images: ImageStore,
    table: pd.DataFrame,
    classes: Sequence[str],
    *,
    chunk: devices.BatchLimit,
    adopted_temperature: float | None = None,
) -> pd.DataFrame:
    """Return one row per image: prediction, logits, probabilities, temperature and time.

    `table` has the columns image_id, group, label and part; `classes` names the model's targets in order.
    `adopted_temperature`: of a model trained in another study; without it the temperature is fitted here.
    """
    device = model.mean.device
    pixels = PackedImages(images, list(table["image_id"]))
    outputs = predict_logits(model.without_class_map(), pixels, chunk=chunk, device=device).numpy().astype(np.float64)
    merge = ClassMerge(model.spec.class_map, model.spec.exclusive)
    raw_logits = class_logits(outputs, merge=merge)
    label_number = table["label"].map({name: number for number, name in enumerate(classes)}).to_numpy()
    val = (table["part"] == "val").to_numpy()
    temperature = adopted_temperature or (fit_temperature(outputs[val], label_number[val], merge) if val.any() else 1.0)
    predicted = np.array(classes)[raw_logits.argmax(axis=1)]
    rows = table[["image_id", "group", "part", "label"]].copy()
    rows["predicted"], rows["correct"] = predicted, predicted == rows["label"].to_numpy()
    for kind, values in (
        ("logit", raw_logits),
        ("probability", class_probabilities(outputs, 1.0, merge)),
        ("calibrated", class_probabilities(outputs, temperature, merge)),
    ):
        for number, name in enumerate(classes):
            rows[f"{kind}_{name}"] = values[:, number]
    seconds = seconds_per_image(model, pixels[:1][0].to(device))
    return rows.assign(
        temperature=temperature,
        seconds=seconds,
        threads=torch.get_num_threads(),
        device=devices.device_name(device),
        parameters=sum(p.numel() for p in model.parameters()),
    )


class SliceableImages(Protocol):
    """Images that can be sliced: a tensor, or a store that reads the rows of a slice when indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


@torch.inference_mode()
def predict_logits(
    classifier: nn.Module, images: SliceableImages, *, chunk: BatchLimit, device: torch.device
) -> Tensor:
    """Return logits (n, classes) on the CPU for uint8 `images` (n, c, h, w), `chunk` images per forward pass."""
    classifier.eval()
    pieces = AdaptiveBatch(chunk, device).process(
        len(images), lambda some: classifier(images[some].to(device).float() / 255).float().cpu()
    )
    return torch.cat([logits for _, logits in pieces])


@torch.inference_mode()
def seconds_per_image(classifier: nn.Module, image: Tensor, *, rounds: int = 50, warmup: int = 5) -> float:
    """Return the median seconds of one forward pass of one uint8 `image` (c, h, w), on the image's device."""
    classifier.eval()
    batch = image.unsqueeze(0).float() / 255
    seconds = []
    for _ in range(warmup + rounds):
        started = time.perf_counter()
        classifier(batch)
        synchronise(batch.device)
        seconds.append(time.perf_counter() - started)
    return float(torch.tensor(seconds[warmup:], dtype=torch.float64).quantile(0.5))


LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 10.0


class ClassMerge(NamedTuple):
    """How logits of outputs become logits of classes (models/heads.py)."""

    class_map: ClassMap = ()
    exclusive: bool = True  # whether outputs exclude each other


ONE_EACH = ClassMerge()  # one output per class


def fit_temperature(outputs: ArrayLike, labels: ArrayLike, merge: ClassMerge = ONE_EACH) -> float:
    """Fit the temperature to validation logits `outputs` (n, k) and class numbers `labels` (n,)."""
    truth = np.asarray(labels)

    def loss(log_t: float) -> float:
        scores = class_logits(outputs, float(np.exp(log_t)), merge)
        return float(-log_softmax(scores, axis=1)[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(
        loss,
        bounds=(np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(found.x))


def class_logits(outputs: ArrayLike, t: float = 1.0, merge: ClassMerge = ONE_EACH) -> NDArray[np.float64]:
    """Return one logit per class (n, classes) from the logits of the outputs (n, k), at temperature `t`."""
    scores = torch.from_numpy(np.asarray(outputs, dtype=np.float64) / t)
    merged: NDArray[np.float64] = merge_outputs(scores, merge.class_map, exclusive=merge.exclusive).numpy()
    return merged


def class_probabilities(outputs: ArrayLike, t: float = 1.0, merge: ClassMerge = ONE_EACH) -> NDArray[np.float64]:
    """Return class probabilities (n, classes) from the logits of the outputs (n, k), at temperature `t`."""
    result: NDArray[np.float64] = softmax(class_logits(outputs, t, merge), axis=1)
    return result
