"""One image explained by one model of a study: overlays, all maps side by side, and the raw maps in a store.

The maps are those the study's own cells would hold: the same passes, shared by all methods, the same layers and options,
the same streams of chance. A method that is not defined for the network is left out and said; where none is left, that is
a refusal. The folder is written whole or not at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch

from gradfaith import registry
from gradfaith.attribution import bound_method, cell
from gradfaith.attribution.cell import Cell, Piece
from gradfaith.attribution.probe import probe
from gradfaith.cli import explain_request
from gradfaith.cli.explain_request import MAPS, Case, Request
from gradfaith.dag import code_digest
from gradfaith.dag.rule_params import PASSES
from gradfaith.errors import LayerUnusable, MethodUndefined, ModelUnusable
from gradfaith.models import checkpoint, speed
from gradfaith.models.classifier import Classifier
from gradfaith.models.predict import logits, predict, probabilities
from gradfaith.reporting.figures import overlay, theme
from gradfaith.runtime import device
from gradfaith.storage.atomic import replacing_folder
from gradfaith.storage.hdf5 import MapWriter
from gradfaith.storage.map_info import STATUSES, status_of


@dataclass(frozen=True)
class Answer:
    """What the model says of the image."""

    predicted: str
    probability: float
    calibrated: bool
    true: str  # "": not known
    target: str  # the class that is explained

    @property
    def words(self) -> str:
        return f"{self.predicted} {self.probability:.2f}" + ("" if self.calibrated else " (not calibrated)")


def run(asked: Request, root: Path) -> Iterator[str]:
    """Explain, write, and say in lines what was found."""
    case = explain_request.look_up(asked, root)
    model = checkpoint.load(case.weights, case.card).to(device.choose(asked.device, torch.get_num_threads()))
    _check_size(model, case)
    answer = _answer(model, case)
    model = speed.prepared(model, case.plan.study.explain.model_dump(include=PASSES))
    defined, left_out = _defined(model, case)
    rows = pd.DataFrame(
        {
            "image_id": [case.subject.image_id],
            "target": [case.plan.dataset.classes.index(answer.target)],
            "role": ["asked"],
        }
    )
    pieces = _pieces(model, case, defined, rows)
    with replacing_folder(case.out) as folder:
        with MapWriter(folder / MAPS, rows, _stamp(model, case)) as maps:
            for piece in pieces:
                maps.put(piece.label, piece.info, piece.start, piece.maps, piece.seconds, piece.notes)
        _draw(folder, case, answer, pieces)
    true = f" true class: {answer.true};" if answer.true else ""
    yield f"{case.subject.image_id}: {_name(asked)} answers {answer.words};{true} explained: {answer.target}"
    yield from _lines(pieces, left_out)
    yield f"{case.out}/: {len(pieces)} overlays, side-by-side.svg and .png, {MAPS}"


def _check_size(model: Classifier, case: Case) -> None:
    image, spec, classes = case.plan.study.image, model.spec, len(case.plan.dataset.classes)
    said, made = (image.size, image.channels, classes), (spec.size, spec.channels, spec.targets)
    if said != made:
        raise ModelUnusable(
            found="the model takes {} px, {} channel(s) and {} classes, ".format(*made)
            + "the study says {}, {} and {}.".format(*said),
            why="It was trained before the study was changed, and would see another kind of image.",
            then="Run the study again: what is stale is trained again.",
        )


def _answer(model: Classifier, case: Case) -> Answer:
    """The class with the highest logit, and its probability, calibrated where the study's predictions say how."""
    pixels, image = torch.from_numpy(case.subject.pixels[None]), case.subject.image_id
    outputs, made_of = predict(model.unmapped(), pixels, chunk=1, device=model.mean.device), model.spec.class_map
    told, classes = explain_request.predictions(case), case.plan.dataset.classes
    best = int(logits(outputs, class_map=made_of)[0].argmax())
    share = probabilities(outputs, 1.0 if told is None else float(told["temperature"].iloc[0]), made_of)[0]
    own = [] if told is None or not case.subject.known else list(told.loc[told["image_id"] == image, "label"])
    true, target = "".join(own), case.request.target or classes[best]
    return Answer(classes[best], float(share[best]), told is not None, true, target)


def _defined(model: Classifier, case: Case) -> tuple[list[bound_method.Use], dict[str, str]]:
    """The methods that mean something on this network, and of the others why they do not."""
    found, refused = list[bound_method.Use](), dict[str, str]()
    for label, how in case.methods.items():
        try:
            (use,) = bound_method.uses_of(model, {label: how})
            for layer in use.layers:
                probe(model, layer)
        except (MethodUndefined, LayerUnusable) as refusal:
            refused[label] = refusal.found
        else:
            found.append(use)
    if not found:
        raise MethodUndefined(
            found="none of the methods has a map of this network: " + " ".join(refused.values()),
            why="A picture of something else under a method's name would be believed.",
            then=f"Name others; `gradfaith methods --study {case.request.study}` says which are defined for its networks.",
        )
    return found, refused


def _pieces(model: Classifier, case: Case, defined: Sequence[bound_method.Use], rows: pd.DataFrame) -> list[Piece]:
    subject, study = case.subject, case.plan.study
    organ = subject.organ
    cell = Cell(
        model,
        lambda _: subject.pixels[None],
        rows,
        defined,
        key=(study.seed, case.request.arch, case.request.seed),
        copies=study.controls.copies,
        most=study.compute.chunk,
        organ=None if organ is None else lambda _: organ[None],
    )
    return list(cell.pieces())


def _stamp(model: Classifier, case: Case) -> dict[str, object]:
    """What the maps stand on, as a cell of the study says it, and the image that was asked for."""
    asked, study = case.request, case.plan.study
    named = {(use["room"], use["use"]) for use in case.methods.values()}
    named |= {("methods", use["options"]["of"]) for use in case.methods.values() if "of" in use["options"]}
    files = [registry.entry(room, name).path for room, name in named]
    return {"study": study.study, "image": asked.image} | cell.provenance_stamp(
        SimpleNamespace(arch=asked.arch, seed=asked.seed, bundle=""),
        {"seed": study.seed, "methods": case.methods, "passes": study.explain.model_dump(include=PASSES)},
        code_digest.code(Path(cell.__file__), *files),
        case.subject,
        case.card,
        model,
    )


def _draw(folder: Path, case: Case, answer: Answer, pieces: Sequence[Piece]) -> None:
    subject, pixels = case.subject, overlay.upright(case.subject.pixels)
    said = (answer.words, answer.true, answer.target, _name(case.request))
    scene = overlay.Scene(subject.image_id, pixels, subject.evidence, *said)
    maps = {piece.label: overlay.seen(piece.maps[0, 0], piece.info, pixels.shape[:2]) for piece in pieces}
    drawn = [overlay.Drawn(piece.label, piece.info, maps[piece.label]) for piece in pieces]
    with theme.applied():
        for one in drawn:
            theme.save_png(overlay.alone(scene, one), folder / f"{one.label}.png")
        theme.save(overlay.beside(scene, drawn), folder / "side-by-side.svg", folder / "side-by-side.png")


def _name(asked: Request) -> str:
    return f"{asked.arch}, seed {asked.seed},"


def _lines(pieces: Sequence[Piece], left_out: Mapping[str, str]) -> Iterator[str]:
    wide = max(len(label) for label in (*left_out, *(piece.label for piece in pieces)))
    for piece in pieces:
        status = STATUSES[int(status_of(piece.maps)[0, 0])]
        notes = "".join(f"  {name}: {float(values[0]):.4g}" for name, values in piece.notes.items())
        yield f"{piece.label:<{wide}}  {status:<10}  {piece.seconds:8.3f} s{notes}"
    for label, why in left_out.items():
        yield f"{label:<{wide}}  left out: {why}"
