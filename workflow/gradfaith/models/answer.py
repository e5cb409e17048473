"""Predictions of one model: logits, probabilities before and after calibration, and the time an image takes.

The temperature is fitted on the validation part; the predicted class is the same before and after.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from gradfaith import device as devices
from gradfaith.models.build import Classifier
from gradfaith.models.calibrate import probabilities, temperature
from gradfaith.models.predict import predict, seconds_per_image
from gradfaith.stores import Images


def predictions(
    model: Classifier, images: Images, table: pd.DataFrame, classes: Sequence[str], *, chunk: devices.Most
) -> pd.DataFrame:
    """One row per image; `table` holds image_id, group, label and part."""
    device = next(model.parameters()).device
    pixels = torch.from_numpy(images.pixels(list(table["image_id"])))
    logits = predict(model, pixels, chunk=chunk, device=device).numpy().astype(np.float64)
    place = table["label"].map({name: number for number, name in enumerate(classes)}).to_numpy()
    val = (table["part"] == "val").to_numpy()
    heat = temperature(logits[val], place[val]) if val.any() else 1.0
    predicted = np.array(classes)[logits.argmax(axis=1)]
    found = table[["image_id", "group", "part", "label"]].copy()
    found["predicted"], found["correct"] = predicted, predicted == found["label"].to_numpy()
    for kind, values in (
        ("logit", logits),
        ("probability", probabilities(logits)),
        ("calibrated", probabilities(logits, heat)),
    ):
        for number, name in enumerate(classes):
            found[f"{kind}_{name}"] = values[:, number]
    seconds = seconds_per_image(model, pixels[0].to(device))
    return found.assign(
        temperature=heat,
        seconds=seconds,
        threads=torch.get_num_threads(),
        device=devices.name(device),
        parameters=sum(p.numel() for p in model.parameters()),
    )
