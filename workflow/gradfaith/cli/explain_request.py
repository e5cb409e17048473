"""What `gradfaith explain` is asked for, looked up in the study and on the disk before any model is loaded.

An image is a file, made as the study's images are, or an image id of the study's images.h5, whose evidence, organ and true
class are then known. A method is a label of the study, with the layer, options and score it has there, or the name of any
method or control, with its defaults and the architecture's layer. Whatever is not there is refused.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith import registry
from gradfaith.config import locate, options
from gradfaith.config.study import MethodUse
from gradfaith.dag.plan import CONTROLS, Plan
from gradfaith.data import decode
from gradfaith.errors import CannotWrite, ModelUnusable, NotInStudy, UnknownName
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import Images

MAPS = "maps.h5"  # a folder that holds it is an earlier answer, and may be replaced


@dataclass(frozen=True)
class Request:
    """The words of the prompt."""

    image: str
    study: str
    arch: str
    seed: int
    methods: Sequence[str] = ()
    target: str = ""
    out: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Subject:
    """One image as the model sees it, and what is known of it."""

    image_id: str
    pixels: NDArray[np.uint8]  # (c, h, w)
    digest: str  # of the store it lies in, or of its own pixels
    evidence: NDArray[np.bool_]  # (h, w)
    known: bool  # whether it is one of the study's images, or a file
    organ: NDArray[np.bool_] | None = None  # (h, w)


@dataclass(frozen=True)
class Case:
    """All that was asked for, found."""

    request: Request
    plan: Plan
    methods: Mapping[str, Mapping[str, Any]]  # label -> use
    weights: Path
    card: Path
    subject: Subject
    out: Path


def look_up(request: Request, root: Path) -> Case:
    """The case of a request, or a refusal."""
    path = locate.asked(request.study, root)
    plan = Plan.read(locate.read(path), root, str(path))
    _known(request.arch, "architecture", plan.architectures, plan)
    _known(str(request.seed), "seed", [str(seed) for seed in plan.study.seeds], plan)
    if request.target:
        _known(request.target, "class", plan.dataset.classes, plan)
    methods = _methods(plan, request.arch, request.methods)
    weights, card = (_made(one, request, path) for one in (plan.layout.weights, plan.layout.card))
    subject = _subject(plan, request)
    return Case(request, plan, methods, weights, card, subject, _place(request, plan, subject.image_id))


def predictions(case: Case) -> pd.DataFrame | None:
    """What the model answered on the study's images, where that is known."""
    path = Path(case.plan.layout.predictions.format(arch=case.request.arch, seed=case.request.seed))
    return parquet.read(path, parquet.PREDICTIONS) if path.is_file() else None


def _known(word: str, kind: str, offered: Sequence[str], plan: Plan) -> None:
    """Refuse what the study does not have."""
    if word not in offered:
        raise NotInStudy(
            found=f'study {plan.study.study} has no {kind} "{word}"{registry.did_you_mean(word, offered)}',
            why="Only what a study trained and named can be explained.",
            then=f"Name one of: {', '.join(offered)}.",
        )


def _methods(plan: Plan, arch: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """label -> use; none named: every method of the study's bundles that the architecture is asked."""
    of_study = {label: use for bundle in plan.bundles.values() for label, use in bundle.items()}
    default = [label for bundle in plan.bundles if bundle != CONTROLS for label in plan.methods(arch, bundle)]
    uses = {label: of_study.get(label) or _by_name(label, list(of_study)) for label in names or default}
    return {label: use | {"layer": plan.layer(arch, use), "shuffled": False} for label, use in uses.items()}


def _by_name(name: str, labels: Sequence[str]) -> dict[str, Any]:
    """A method or control that exists, with its defaults."""
    for room in ("methods", "controls"):
        if name in registry.names(room):
            use = MethodUse(use=name, options=options.complete(room, name, {}))
            return {"room": room, **use.model_dump()}
    every = list(dict.fromkeys([*labels, *registry.names("methods"), *registry.names("controls")]))
    raise UnknownName(
        found=f'"{name}" is neither a label of the study nor a method or control{registry.did_you_mean(name, every)}',
        why="A method is named as the study's bundles name it, or by its own name; `gradfaith methods` lists them.",
        then=f"Use one of: {', '.join(every)}.",
    )


def _made(place: str, request: Request, study: Path) -> Path:
    """A file of the model, which must have been made."""
    path = Path(place.format(arch=request.arch, seed=request.seed))
    if not path.is_file():
        raise ModelUnusable(
            found=f"{request.arch} with seed {request.seed} is not ready: {path} is not there.",
            why="Maps explain what a trained model answers.",
            then=f"Run `snakemake {path} --configfile {study}` first.",
        )
    return path


def _subject(plan: Plan, request: Request) -> Subject:
    """The image, from its file or from the study's images."""
    asked, path = plan.study.image, Path(request.image)
    if path.is_file():
        colour = int(plan.dataset.options.get("channels", 1))
        pixels = decode.read(path, asked.model_dump(), colour=colour)
        nowhere = np.zeros(pixels.shape[1:], dtype=bool)
        return Subject(path.name, pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), nowhere, known=False)
    if not Path(plan.layout.images).is_file():
        raise NotInStudy(
            found=f'there is no file "{request.image}", and no {plan.layout.images} to look it up in.',
            why="An image is a file, or an image id of the study's images.",
            then="Give the path of an image file, or run the study first.",
        )
    with Images(plan.layout.images) as images:
        if request.image not in images.row:
            raise NotInStudy(
                found=f'"{request.image}" is neither a file nor an image of study {plan.study.study}'
                + registry.did_you_mean(request.image, images.ids),
                why=f"An image is a file, or one of the {len(images.ids)} image ids in {plan.layout.images}.",
                then=f"Give a path, or an id such as {images.ids[0]}.",
            )
        one = [request.image]
        organ = images.mask(plan.dataset.organ, one)[0][0] if plan.dataset.organ else None
        return Subject(
            request.image, images.pixels(one)[0], images.digest, images.mask("evidence", one)[0][0], True, organ
        )


def _place(request: Request, plan: Plan, image_id: str) -> Path:
    """The folder to write to: one that is not there, is empty, or holds an earlier answer."""
    stem = Path(image_id).with_suffix("").as_posix().replace("/", "-")
    name = f"{plan.study.study}-{request.arch}-{request.seed}-{stem}"
    out = request.out or Path("explained") / name
    if out.exists() and not (out.is_dir() and ((out / MAPS).is_file() or not any(out.iterdir()))):
        raise CannotWrite(
            found=f"{out} is there and is no earlier explanation.",
            why="It would be replaced as a whole, and what lies in it would be lost.",
            then="Name another folder with --out, or move it away.",
        )
    return out
