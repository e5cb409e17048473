"""Predictions of one model: logits, probabilities before and after calibration, and the time an image takes.

The temperature is fitted on the validation part, or is the model's own where it was trained in another study: there it was
fitted, and these images have no say in it. Without either it is 1. Of classes with one output each the predicted one is the
same before and after; where a class map puts outputs together, the prediction is that of the logits as they are.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from gradfaith import device as devices
from gradfaith.models.build import Classifier
from gradfaith.models.calibrate import logits, probabilities, temperature
from gradfaith.models.pixels import Packed
from gradfaith.models.predict import predict, seconds_per_image
from gradfaith.stores import Images


def predictions(
    model: Classifier,
    images: Images,
    table: pd.DataFrame,
    classes: Sequence[str],
    *,
    chunk: devices.Most,
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
