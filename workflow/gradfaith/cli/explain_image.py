"""Explain images with one model of a study: draw the overlays, all maps side by side, and store the raw maps.

The maps are those that the study's own cells would contain: the same shared passes, layers, options and random
streams. A method that is not defined for the network is left out, and a line says why. Each image has a folder of its
own, which is written completely or not at all. If the evidence of an image is known, its maps are scored on it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from gradfaith import registry
from gradfaith.attribution import bound_method, cell
from gradfaith.attribution.cell import MapCell, MapChunk
from gradfaith.attribution.probe import probe
from gradfaith.cli import explain_request
from gradfaith.cli.explain_request import MAPS_FILE, ExplainRequest, ImageToExplain, ResolvedRequest
from gradfaith.config.job_settings import ExplainSettings
from gradfaith.dag import code_digest
from gradfaith.errors import LayerUnusable, MethodUndefined, ModelUnusable
from gradfaith.metrics.maps.located import Region
from gradfaith.metrics.runners.localization import localize
from gradfaith.models import checkpoint, speed
from gradfaith.models.classifier import Classifier
from gradfaith.models.predict import ClassMerge, class_logits, class_probabilities, predict_logits
from gradfaith.models.training_distance import Distance, distances_from_training
from gradfaith.reporting.escaping import one_line
from gradfaith.reporting.figures import overlay, theme
from gradfaith.runtime import device
from gradfaith.scoring import score_rows
from gradfaith.storage.atomic import replacing_folder
from gradfaith.storage.hdf5 import ImageStore, MapWriter
from gradfaith.storage.map_info import STATUSES, status_of

BATCH = 16  # images whose maps are in memory at once


@dataclass(frozen=True)
class ModelAnswer:
    """The model's prediction for the image, and the explained class."""

    predicted: str
    probability: float
    calibrated: bool
    true: str  # "": not known
    target: str  # the class that is explained
    target_number: int  # its place among the classes

    @property
    def text(self) -> str:
        return f"{self.predicted} {self.probability:.2f}" + ("" if self.calibrated else " (not calibrated)")


def run(request: ExplainRequest, root: Path) -> Iterator[str]:
    """Explain the images, write a folder for each, and yield the lines to print; `root` is the folder of the checkout."""
    resolved = explain_request.resolve(request, root)
    device.keep_freed_memory()
    model = checkpoint.load(resolved.weights, resolved.card)
    model = model.to(device.choose_device(request.device, torch.get_num_threads()))
    _check_model_fits_study(model, resolved)
    answers, distances = _predict_answers(model, resolved), _measure_distances(model, resolved)
    methods, left_out = _bind_applicable_methods(model, resolved)
    model = speed.prepare_for_speed(model, resolved.plan.study.map_passes, bound_method.tapped_layers(methods))
    alone, name = len(resolved.images) == 1, f"{request.arch}, seed {request.seed},"
    for start in range(0, len(resolved.images), BATCH):
        batch = slice(start, start + BATCH)
        images, answered = resolved.images[batch], answers[batch]
        for image, answer, maps, distance in zip(
            images, answered, _compute_maps(model, resolved, images, answered, methods), distances[batch], strict=True
        ):
            _write_folder(image, answer, maps, _make_stamp(model, resolved, image), name)
            yield from _describe(image, answer, distance, name)
            if alone:
                scores = _score_on_evidence(image, maps, resolved)
                yield from _format_maps(maps, scores, left_out)
                if scores and answer.true != answer.target:
                    yield f"scores: of maps that explain {answer.target}; the study scores maps of the true class"
            yield f"{image.out}/: {len(maps)} overlays, side-by-side.svg and .png, {MAPS_FILE}"
    if not alone:
        yield from (f"{label}: left out: {why}" for label, why in left_out.items())
        yield f"{len(resolved.images)} images explained"


def _check_model_fits_study(model: Classifier, resolved: ResolvedRequest) -> None:
    image, spec, classes = resolved.plan.study.image, model.spec, len(resolved.plan.dataset.classes)
    expected, trained = (image.size, image.channels, classes), (spec.size, spec.channels, spec.n_targets)
    if expected != trained:
        raise ModelUnusable(
            problem="the model was trained with {} px, {} channel(s) and {} classes, ".format(*trained)
            + "but the study has {}, {} and {}.".format(*expected),
            reason="The study was changed after this model was trained.",
            fix=f"Run `gradfaith run {resolved.request.study}`: it trains the models again whose settings have changed.",
        )


def _predict_answers(model: Classifier, resolved: ResolvedRequest) -> list[ModelAnswer]:
    """Return the predicted class of each image and its probability, calibrated if the study's predictions exist."""
    pixels = torch.from_numpy(np.stack([image.pixels for image in resolved.images]))
    outputs = predict_logits(model.without_class_map(), pixels, chunk=1, device=model.mean.device)
    merge = ClassMerge(model.spec.class_map, model.spec.exclusive)
    predictions, classes = explain_request.read_predictions(resolved), resolved.plan.dataset.classes
    temperature = 1.0 if predictions is None else float(predictions["temperature"].iloc[0])
    best = class_logits(outputs, merge=merge).argmax(axis=1)
    probabilities = class_probabilities(outputs, temperature, merge)
    known = {} if predictions is None else dict(zip(predictions["image_id"], predictions["label"], strict=True))
    answers = []
    for image, place, shares in zip(resolved.images, best, probabilities, strict=True):
        true = str(known.get(image.image_id, "")) if image.in_study else ""
        target = resolved.request.target or classes[place]
        calibrated, number = predictions is not None, classes.index(target)
        answers.append(ModelAnswer(classes[place], float(shares[place]), calibrated, true, target, number))
    return answers


def _measure_distances(model: Classifier, resolved: ResolvedRequest) -> list[Distance | None]:
    """Return the distance of each image from the training images; None if the study has none."""
    predictions, store = explain_request.read_predictions(resolved), Path(resolved.plan.paths.images)
    if predictions is None or not store.is_file():
        return [None] * len(resolved.images)
    groups = dict(zip(predictions["image_id"], predictions["group"], strict=True))
    own = [str(groups.get(image.image_id, "")) if image.in_study else "" for image in resolved.images]
    pixels = np.stack([image.pixels for image in resolved.images])
    with ImageStore(store) as images:
        return distances_from_training(model, images, predictions, pixels, own)


def _bind_applicable_methods(
    model: Classifier, resolved: ResolvedRequest
) -> tuple[list[bound_method.BoundMethod], dict[str, str]]:
    """Return the methods that are defined for this network, and of the others label -> why they are not."""
    bound, refused, probed = list[bound_method.BoundMethod](), dict[str, str](), set[str]()
    for label, settings in resolved.methods.items():
        try:
            (method,) = bound_method.bind_methods(model, {label: settings})
            for layer in set(method.layers) - probed:
                probe(model, layer)
                probed.add(layer)
        except (MethodUndefined, LayerUnusable) as error:
            refused[label] = error.problem
        else:
            bound.append(method)
    if not bound:
        raise MethodUndefined(
            problem="none of the methods has a map of this network: " + " ".join(refused.values()),
            reason="These methods are not defined for this architecture.",
            fix=f"Choose other methods; `gradfaith methods --study {resolved.request.study}` lists those that are defined.",
        )
    return bound, refused


def _compute_maps(
    model: Classifier,
    resolved: ResolvedRequest,
    images: Sequence[ImageToExplain],
    answers: Sequence[ModelAnswer],
    methods: Sequence[bound_method.BoundMethod],
) -> list[list[MapChunk]]:
    """Return the maps of each image; images with a known organ are computed together, and so are those without."""
    study = resolved.plan.study
    by_id, maps = {image.image_id: image for image in images}, {image.image_id: list[MapChunk]() for image in images}
    for known in (True, False):
        some = [
            (one.image_id, answer.target_number)
            for one, answer in zip(images, answers, strict=True)
            if (one.organ is not None) == known
        ]
        if not some:
            continue
        ids = [image_id for image_id, _ in some]
        chunks = MapCell(
            model,
            lambda wanted: np.stack([by_id[one].pixels for one in wanted]),
            pd.DataFrame({"image_id": ids, "target": [target for _, target in some], "role": "asked"}),
            methods,
            key=(study.seed, resolved.request.arch, resolved.request.seed),
            copies=study.controls.copies,
            batch_limit=study.compute.chunk,
            organ=(lambda wanted: np.stack([by_id[one].organ for one in wanted])) if known else None,  # type: ignore[misc]
        ).map_chunks()
        for chunk in chunks:
            for place, image_id in enumerate(ids[chunk.start : chunk.start + len(chunk.maps)]):
                maps[image_id].append(_of_one_image(chunk, place))
    return [maps[image.image_id] for image in images]


def _of_one_image(chunk: MapChunk, place: int) -> MapChunk:
    rows = slice(place, place + 1)
    diagnostics = {name: values[rows] for name, values in chunk.diagnostics.items()}
    return MapChunk(chunk.label, chunk.info, 0, chunk.maps[rows], chunk.seconds / len(chunk.maps), diagnostics)


def _make_stamp(model: Classifier, resolved: ResolvedRequest, image: ImageToExplain) -> dict[str, object]:
    """Return the stamp of the maps, as in a cell of the study, and the requested image."""
    request, study = resolved.request, resolved.plan.study
    uses = resolved.methods.values()
    named = {
        *((use.group, use.use) for use in uses),
        *(("methods", use.options["of"]) for use in uses if "of" in use.options),
    }
    files = code_digest.plugin_files(registry.entry(group, name) for group, name in sorted(named))
    return {"study": study.study, "image": image.image_id} | cell.provenance_stamp(
        SimpleNamespace(arch=request.arch, seed=request.seed, bundle=""),
        ExplainSettings(
            seed=study.seed,
            classes=resolved.plan.dataset.classes,
            explain=study.explain,
            passes=study.map_passes,
            copies=study.controls.copies,
            organ=resolved.plan.dataset.organ,
            methods=resolved.methods,
        ),
        code_digest.digest_code(Path(cell.__file__), *files),
        image,
        resolved.card,
        model,
    )


def _write_folder(
    image: ImageToExplain, answer: ModelAnswer, chunks: Sequence[MapChunk], stamp: Mapping[str, object], model: str
) -> None:
    """Write the maps of one image and their figures, completely or not at all."""
    rows = pd.DataFrame({"image_id": [image.image_id], "target": [answer.target_number], "role": ["asked"]})
    with replacing_folder(image.out) as folder:
        with MapWriter(folder / MAPS_FILE, rows, stamp) as maps:
            for chunk in chunks:
                maps.put(chunk.label, chunk.info, chunk.start, chunk.maps, chunk.seconds, chunk.diagnostics)
        _draw_figures(folder, image, answer, chunks, model)


def _draw_figures(
    folder: Path, image: ImageToExplain, answer: ModelAnswer, chunks: Sequence[MapChunk], model: str
) -> None:
    pixels = overlay.channels_last(image.pixels)
    explained = overlay.ExplainedImage(
        image.image_id, pixels, image.evidence, answer.text, answer.true, answer.target, model
    )
    shown = {chunk.label: overlay.to_display_map(chunk.maps[0, 0], chunk.info, pixels.shape[:2]) for chunk in chunks}
    maps = [overlay.LabelledMap(chunk.label, chunk.info, shown[chunk.label]) for chunk in chunks]
    with theme.use_theme():
        for one in maps:
            theme.save(overlay.draw_single_map(explained, one), folder / f"{one.label}.png")
        page = overlay.draw_maps_side_by_side(explained, maps)
        theme.save(page, folder / "side-by-side.svg", folder / "side-by-side.png")


def _score_on_evidence(
    image: ImageToExplain, chunks: Sequence[MapChunk], resolved: ResolvedRequest
) -> dict[str, dict[str, str]]:
    """Return method -> localization metric -> its value as text, if the evidence of the image is known."""
    metrics = score_rows.load_plugins("localization", resolved.plan.study.localization)
    metrics = {label: one for label, one in metrics.items() if one[0].METRIC.region == "evidence"}
    if not metrics or not image.evidence.any():
        return {}
    height, width = image.evidence.shape
    scores = dict[str, dict[str, str]]()
    for chunk in chunks:
        info = chunk.info
        results = localize(
            chunk.maps[:, 0], grid=info.grid, signed=info.signed, reading=info.reading, size=(height, width),
            regions={"evidence": Region(image.evidence[None])}, metrics=metrics,
        )  # fmt: skip
        scores[chunk.label] = {
            f"{metric} {variant}".rstrip(): f"{one.value[0]:.3f}" if one.status[0] == "ok" else str(one.status[0])
            for (metric, variant), one in results.items()
        }
    return scores


def _describe(image: ImageToExplain, answer: ModelAnswer, distance: Distance | None, model: str) -> Iterator[str]:
    """Yield the model's prediction for an image, and warnings about it."""
    true = f" true class: {answer.true};" if answer.true else ""
    yield one_line(f"{image.image_id}: {model} answers {answer.text};{true} explained: {answer.target}")
    if image.window:
        shown = "black is {:g} and white {:g}".format(*image.window)
        yield one_line(f"{image.image_id}: more than 8 bits; {shown} (--window LOW HIGH sets both)")
    if distance is not None and distance.far:
        yield one_line(
            f"warning: {image.image_id} is far from the training images: distance {distance.value:.3g}, and 99 % of the "
            f"training images are within {distance.limit:.3g} of another patient's. Do not rely on the answer or the maps."
        )


def _format_maps(
    chunks: Sequence[MapChunk], scores: Mapping[str, Mapping[str, str]], left_out: Mapping[str, str]
) -> Iterator[str]:
    width = max(len(label) for label in (*left_out, *(chunk.label for chunk in chunks)))
    for chunk in chunks:
        status = STATUSES[int(status_of(chunk.maps)[0, 0])]
        notes = {name: f"{float(values[0]):.4g}" for name, values in chunk.diagnostics.items()}
        words = "".join(f"  {name}: {value}" for name, value in (notes | dict(scores.get(chunk.label, {}))).items())
        yield f"{chunk.label:<{width}}  {status:<10}  {chunk.seconds:8.3f} s{words}"
    for label, why in left_out.items():
        yield f"{label:<{width}}  left out: {why}"
