"""Predictions of one model: logits, probabilities before and after calibration, and the time an image takes.

The temperature is fitted on the validation part, or is the model's own where it was trained in another study: there it was
fitted, and these images have no say in it. Without either it is 1. Of classes with one output each the predicted one is the
same before and after; where a class map puts outputs together, the prediction is that of the logits as they are.

What a classifier answers, and how long it takes for one image.

The time per image is the paper's: batch 1, the median of the rounds after a warm-up, the device waited for. The image
is on the device already, so neither disk nor transfer is counted; name the device beside the number.

Temperature scaling: one number, fitted on validation, that makes probabilities mean what they say.

    p = softmax(logits / T),   T = argmin of the validation images' mean negative log-likelihood          [guo2017]

The ranking of the classes does not change, so no map and no decision does. The likelihood is convex in 1 / T, hence one
minimum: it is searched by bounded Brent steps on log T, the same every time. Where every validation image is right by
any margin the optimum is T = 0, an empty promise of certainty; the lower bound stops there, and a T on a bound is to
be read as "validation was too easy, or too small, to say". Raw probabilities are kept beside the calibrated ones.

Where classes are made of several outputs (models/classifier.py), T divides the outputs' logits, before they are put together.
"""

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax
from torch import Tensor, nn

from gradfaith.models.classifier import Classifier
from gradfaith.models.training.image_source import Packed
from gradfaith.runtime import batching
from gradfaith.runtime import device as devices
from gradfaith.runtime.batching import Chunk, Most
from gradfaith.runtime.device import settle
from gradfaith.storage.hdf5 import Images


def predictions(
    model: Classifier,
    images: Images,
    table: pd.DataFrame,
    classes: Sequence[str],
    *,
    chunk: batching.Most,
    own_temperature: float | None = None,
) -> pd.DataFrame:
    """One row per image; `table` holds image_id, group, label and part."""
    device = next(model.parameters()).device
    pixels = Packed(images, list(table["image_id"]))
    outputs = predict(model.unmapped(), pixels, chunk=chunk, device=device).numpy().astype(np.float64)
    class_map = model.spec.class_map
    plain = logits(outputs, class_map=class_map)
    place = table["label"].map({name: number for number, name in enumerate(classes)}).to_numpy()
    val = (table["part"] == "val").to_numpy()
    heat = own_temperature or (temperature(outputs[val], place[val], class_map) if val.any() else 1.0)
    predicted = np.array(classes)[plain.argmax(axis=1)]
    found = table[["image_id", "group", "part", "label"]].copy()
    found["predicted"], found["correct"] = predicted, predicted == found["label"].to_numpy()
    for kind, values in (
        ("logit", plain),
        ("probability", probabilities(outputs, 1.0, class_map)),
        ("calibrated", probabilities(outputs, heat, class_map)),
    ):
        for number, name in enumerate(classes):
            found[f"{kind}_{name}"] = values[:, number]
    seconds = seconds_per_image(model, pixels[:1][0].to(device))
    return found.assign(
        temperature=heat,
        seconds=seconds,
        threads=torch.get_num_threads(),
        device=devices.name(device),
        parameters=sum(p.numel() for p in model.parameters()),
    )


class Rows(Protocol):
    """Images by slices: a tensor, or the rows of a store that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice, /) -> Tensor: ...


@torch.inference_mode()
def predict(classifier: nn.Module, images: Rows, *, chunk: Most, device: torch.device) -> Tensor:
    """Logits (n, classes) on the CPU of uint8 `images` (n, c, h, w), `chunk` images at a time."""
    classifier.eval()
    pieces = Chunk(chunk, device).pieces(
        len(images), lambda some: classifier(images[some].to(device).float() / 255).float().cpu()
    )
    return torch.cat([logits for _, logits in pieces])


@torch.inference_mode()
def seconds_per_image(classifier: nn.Module, image: Tensor, *, rounds: int = 50, warmup: int = 5) -> float:
    """Median seconds of one forward of one uint8 `image` (c, h, w), on the device the image is on."""
    classifier.eval()
    batch = image.unsqueeze(0).float() / 255
    seconds = []
    for _ in range(warmup + rounds):
        started = time.perf_counter()
        classifier(batch)
        settle(batch.device)
        seconds.append(time.perf_counter() - started)
    return float(torch.tensor(seconds[warmup:], dtype=torch.float64).quantile(0.5))


LOWEST, HIGHEST = 0.1, 10.0


ClassMap = Sequence[Sequence[int]]


def temperature(outputs: ArrayLike, labels: ArrayLike, class_map: ClassMap = ()) -> float:
    """The temperature for validation logits `outputs` (n, k) and class numbers `labels` (n,)."""
    truth = np.asarray(labels)

    def loss(log_t: float) -> float:
        scores = logits(outputs, float(np.exp(log_t)), class_map)
        return float(-log_softmax(scores, axis=1)[np.arange(len(truth)), truth].mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def logits(outputs: ArrayLike, t: float = 1.0, class_map: ClassMap = ()) -> NDArray[np.float64]:
    """One logit per class (n, classes) from those of the outputs (n, k), at temperature `t`."""
    scores = np.asarray(outputs, dtype=np.float64) / t
    return np.stack([logsumexp(scores[:, list(own)], axis=1) for own in class_map], axis=1) if class_map else scores


def probabilities(outputs: ArrayLike, t: float = 1.0, class_map: ClassMap = ()) -> NDArray[np.float64]:
    """Class probabilities (n, classes) at temperature `t`."""
    result: NDArray[np.float64] = softmax(logits(outputs, t, class_map), axis=1)
    return result
