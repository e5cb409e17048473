"""Explain one image with one model of a study: draw the overlays, all maps side by side, and store the raw maps.

The maps are those that the study's own cells would hold: the same shared passes, layers, options and random
streams. A method that is not defined for the network is left out, and a line says why; if none is left, the
command is refused. The folder is written completely or not at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch

from gradfaith import registry
from gradfaith.attribution import bound_method, cell
from gradfaith.attribution.cell import MapCell, MapChunk
from gradfaith.attribution.probe import probe
from gradfaith.cli import explain_request
from gradfaith.cli.explain_request import MAPS_FILE, ExplainRequest, ResolvedRequest
from gradfaith.config.job_settings import ExplainSettings
from gradfaith.dag import code_digest
from gradfaith.errors import LayerUnusable, MethodUndefined, ModelUnusable
from gradfaith.models import checkpoint, speed
from gradfaith.models.classifier import Classifier
from gradfaith.models.predict import class_logits, class_probabilities, predict_logits
from gradfaith.reporting.escaping import one_line
from gradfaith.reporting.figures import overlay, theme
from gradfaith.runtime import allocator, device
from gradfaith.storage.atomic import replacing_folder
from gradfaith.storage.hdf5 import MapWriter
from gradfaith.storage.map_info import STATUSES, status_of


@dataclass(frozen=True)
class ModelAnswer:
    """What the model answers for the image, and which class is explained."""

    predicted: str
    probability: float
    calibrated: bool
    true: str  # "": not known
    target: str  # the class that is explained

    @property
    def text(self) -> str:
        return f"{self.predicted} {self.probability:.2f}" + ("" if self.calibrated else " (not calibrated)")


def run(request: ExplainRequest, root: Path) -> Iterator[str]:
    """Explain the image, write the folder, and yield the lines to print; `root` is the folder of the checkout."""
    resolved = explain_request.resolve(request, root)
    allocator.keep_freed_memory()
    model = checkpoint.load(resolved.weights, resolved.card)
    model = model.to(device.choose_device(request.device, torch.get_num_threads()))
    _check_model_fits_study(model, resolved)
    answer = _predict_answer(model, resolved)
    methods, left_out = _bind_applicable_methods(model, resolved)
    model = speed.prepare_for_speed(model, resolved.plan.study.map_passes, bound_method.tapped_layers(methods))
    rows = pd.DataFrame(
        {
            "image_id": [resolved.image.image_id],
            "target": [resolved.plan.dataset.classes.index(answer.target)],
            "role": ["asked"],
        }
    )
    chunks = _compute_maps(model, resolved, methods, rows)
    with replacing_folder(resolved.out) as folder:
        with MapWriter(folder / MAPS_FILE, rows, _make_stamp(model, resolved)) as maps:
            for chunk in chunks:
                maps.put(chunk.label, chunk.info, chunk.start, chunk.maps, chunk.seconds, chunk.diagnostics)
        _draw_figures(folder, resolved, answer, chunks)
    true = f" true class: {answer.true};" if answer.true else ""
    line = f"{resolved.image.image_id}: {_model_name(request)} answers {answer.text};{true} explained: {answer.target}"
    yield one_line(line)
    yield from _format_maps(chunks, left_out)
    yield f"{resolved.out}/: {len(chunks)} overlays, side-by-side.svg and .png, {MAPS_FILE}"


def _check_model_fits_study(model: Classifier, resolved: ResolvedRequest) -> None:
    image, spec, classes = resolved.plan.study.image, model.spec, len(resolved.plan.dataset.classes)
    expected, trained = (image.size, image.channels, classes), (spec.size, spec.channels, spec.n_targets)
    if expected != trained:
        raise ModelUnusable(
            problem="the model takes {} px, {} channel(s) and {} classes, ".format(*trained)
            + "the study says {}, {} and {}.".format(*expected),
            reason="It was trained before the study was changed, and would see another kind of image.",
            fix="Run the study again: what is stale is trained again.",
        )


def _predict_answer(model: Classifier, resolved: ResolvedRequest) -> ModelAnswer:
    """Return the class with the highest logit and its probability, calibrated if the study's predictions are there."""
    pixels, image = torch.from_numpy(resolved.image.pixels[None]), resolved.image.image_id
    outputs = predict_logits(model.without_class_map(), pixels, chunk=1, device=model.mean.device)
    class_map = model.spec.class_map
    predictions, classes = explain_request.read_predictions(resolved), resolved.plan.dataset.classes
    best = int(class_logits(outputs, class_map=class_map)[0].argmax())
    temperature = 1.0 if predictions is None else float(predictions["temperature"].iloc[0])
    probability = class_probabilities(outputs, temperature, class_map)[0]
    labels = []
    if predictions is not None and resolved.image.in_study:
        labels = list(predictions.loc[predictions["image_id"] == image, "label"])
    true, target = "".join(labels), resolved.request.target or classes[best]
    return ModelAnswer(classes[best], float(probability[best]), predictions is not None, true, target)


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
            reason="A picture of something else under a method's name would be believed.",
            fix=f"Name others; `gradfaith methods --study {resolved.request.study}` says which are defined for its networks.",
        )
    return bound, refused


def _compute_maps(
    model: Classifier, resolved: ResolvedRequest, methods: Sequence[bound_method.BoundMethod], rows: pd.DataFrame
) -> list[MapChunk]:
    image, study = resolved.image, resolved.plan.study
    organ = image.organ
    cell = MapCell(
        model,
        lambda _: image.pixels[None],
        rows,
        methods,
        key=(study.seed, resolved.request.arch, resolved.request.seed),
        copies=study.controls.copies,
        batch_limit=study.compute.chunk,
        organ=None if organ is None else lambda _: organ[None],
    )
    return list(cell.map_chunks())


def _make_stamp(model: Classifier, resolved: ResolvedRequest) -> dict[str, object]:
    """Return what the maps were made of, as a cell of the study states it, and the requested image."""
    request, study = resolved.request, resolved.plan.study
    uses = resolved.methods.values()
    named = {
        *((use.group, use.use) for use in uses),
        *(("methods", use.options["of"]) for use in uses if "of" in use.options),
    }
    files = code_digest.plugin_files(registry.entry(group, name) for group, name in sorted(named))
    return {"study": study.study, "image": request.image} | cell.provenance_stamp(
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
        resolved.image,
        resolved.card,
        model,
    )


def _draw_figures(folder: Path, resolved: ResolvedRequest, answer: ModelAnswer, chunks: Sequence[MapChunk]) -> None:
    image, pixels = resolved.image, overlay.channels_last(resolved.image.pixels)
    texts = (answer.text, answer.true, answer.target, _model_name(resolved.request))
    explained = overlay.ExplainedImage(image.image_id, pixels, image.evidence, *texts)
    shown = {chunk.label: overlay.to_display_map(chunk.maps[0, 0], chunk.info, pixels.shape[:2]) for chunk in chunks}
    maps = [overlay.LabelledMap(chunk.label, chunk.info, shown[chunk.label]) for chunk in chunks]
    with theme.use_theme():
        for one in maps:
            theme.save_png(overlay.draw_single_map(explained, one), folder / f"{one.label}.png")
        page = overlay.draw_maps_side_by_side(explained, maps)
        theme.save(page, folder / "side-by-side.svg", folder / "side-by-side.png")


def _model_name(request: ExplainRequest) -> str:
    return f"{request.arch}, seed {request.seed},"


def _format_maps(chunks: Sequence[MapChunk], left_out: Mapping[str, str]) -> Iterator[str]:
    width = max(len(label) for label in (*left_out, *(chunk.label for chunk in chunks)))
    for chunk in chunks:
        status = STATUSES[int(status_of(chunk.maps)[0, 0])]
        notes = "".join(f"  {name}: {float(values[0]):.4g}" for name, values in chunk.diagnostics.items())
        yield f"{chunk.label:<{width}}  {status:<10}  {chunk.seconds:8.3f} s{notes}"
    for label, why in left_out.items():
        yield f"{label:<{width}}  left out: {why}"
