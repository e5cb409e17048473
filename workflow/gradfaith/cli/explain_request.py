"""Look up in the study and on disk what `gradfaith explain` requests, before any model is loaded.

An image is a file, prepared as the study's images are, or an image id of the study's images.h5; then its
evidence, organ and true class are known. A method is a label of the study, with the layer, options and score
that it has there, or the name of any method or control, with its defaults and the architecture's layer.
Whatever does not exist is refused.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith import registry
from gradfaith.config import locate, options
from gradfaith.config.job_settings import MethodGroup, MethodSettings
from gradfaith.dag.plan import CONTROLS, BundledMethod, Plan
from gradfaith.data import decode
from gradfaith.errors import CannotWrite, ModelUnusable, NotInStudy, UnknownName
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import ImageStore

MAPS_FILE = "maps.h5"  # a folder that holds it is an earlier explanation, and may be replaced


@dataclass(frozen=True)
class ExplainRequest:
    """The arguments of `gradfaith explain`."""

    image: str
    study: str
    arch: str
    seed: int
    methods: Sequence[str] = ()
    target: str = ""
    out: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class ImageToExplain:
    """One image as the model sees it, and what is known of it."""

    image_id: str
    pixels: NDArray[np.uint8]  # (c, h, w)
    digest: str  # of the store that holds it, or of its own pixels
    evidence: NDArray[np.bool_]  # (h, w)
    in_study: bool  # one of the study's images, or else a file
    organ: NDArray[np.bool_] | None = None  # (h, w)


@dataclass(frozen=True)
class ResolvedRequest:
    """A request of which everything was found."""

    request: ExplainRequest
    plan: Plan
    methods: Mapping[str, MethodSettings]  # by label
    weights: Path
    card: Path
    image: ImageToExplain
    out: Path


def resolve(request: ExplainRequest, root: Path) -> ResolvedRequest:
    """Find everything that a request names; raise a GradFaithError if something does not exist."""
    path = locate.study_file(request.study, root)
    plan = Plan.read(locate.read_document(path), root, str(path))
    _require_offered(request.arch, "architecture", plan.architectures, plan)
    _require_offered(str(request.seed), "seed", [str(seed) for seed in plan.study.seeds], plan)
    if request.target:
        _require_offered(request.target, "class", plan.dataset.classes, plan)
    methods = _resolve_methods(plan, request.arch, request.methods)
    weights, card = (_require_model_file(template, request, path) for template in (plan.paths.weights, plan.paths.card))
    image = _load_image(plan, request)
    out = _output_folder(request, plan, image.image_id)
    return ResolvedRequest(request, plan, methods, weights, card, image, out)


def read_predictions(resolved: ResolvedRequest) -> pd.DataFrame | None:
    """Read the model's predictions on the study's images; None if there are none yet."""
    path = Path(resolved.plan.paths.predictions.format(arch=resolved.request.arch, seed=resolved.request.seed))
    return parquet.read(path, parquet.PREDICTIONS) if path.is_file() else None


def _require_offered(word: str, kind: str, offered: Sequence[str], plan: Plan) -> None:
    """Raise if the study does not have this architecture, seed or class."""
    if word not in offered:
        raise NotInStudy(
            problem=f'study {plan.study.study} has no {kind} "{word}"{registry.did_you_mean(word, offered)}',
            reason="Only what a study trained and named can be explained.",
            fix=f"Name one of: {', '.join(offered)}.",
        )


def _resolve_methods(plan: Plan, arch: str, names: Iterable[str]) -> dict[str, MethodSettings]:
    """Return label -> settings; without names, every method that the study's bundles ask of the architecture."""
    of_study = {label: use for bundle in plan.bundles.values() for label, use in bundle.items()}
    default = [label for bundle in plan.bundles if bundle != CONTROLS for label in plan.method_settings(arch, bundle)]
    uses = {label: of_study.get(label) or _method_with_defaults(label, list(of_study)) for label in names or default}
    return {label: plan.method_on(arch, use, shuffled=False) for label, use in uses.items()}


def _method_with_defaults(name: str, labels: Sequence[str]) -> BundledMethod:
    """Return a method or control with its defaults."""
    group: MethodGroup
    for group in get_args(MethodGroup):
        if name in registry.names(group):
            return BundledMethod(group=group, use=name, options=options.complete(group, name, {}))
    every = list(dict.fromkeys([*labels, *registry.names("methods"), *registry.names("controls")]))
    raise UnknownName(
        problem=f'"{name}" is neither a label of the study nor a method or control{registry.did_you_mean(name, every)}',
        reason="A method is named as the study's bundles name it, or by its own name; `gradfaith methods` lists them.",
        fix=f"Use one of: {', '.join(every)}.",
    )


def _require_model_file(template: str, request: ExplainRequest, study: Path) -> Path:
    """Return the path of a file of the model; raise if it was not made yet."""
    path = Path(template.format(arch=request.arch, seed=request.seed))
    if not path.is_file():
        raise ModelUnusable(
            problem=f"{request.arch} with seed {request.seed} is not ready: {path} is not there.",
            reason="Maps explain what a trained model answers.",
            fix=f"Run `snakemake {path} --configfile {study}` first.",
        )
    return path


def _load_image(plan: Plan, request: ExplainRequest) -> ImageToExplain:
    """Load the image from its file or from the study's images."""
    settings, path = plan.study.image, Path(request.image)
    if path.is_file():
        colour = int(plan.dataset.options.get("channels", 1))
        pixels = decode.read_as_in_study(path, settings, colour=colour)
        no_evidence = np.zeros(pixels.shape[1:], dtype=bool)
        return ImageToExplain(
            path.name, pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), no_evidence, in_study=False
        )
    if not Path(plan.paths.images).is_file():
        raise NotInStudy(
            problem=f'there is no file "{request.image}", and no {plan.paths.images} to look it up in.',
            reason="An image is a file, or an image id of the study's images.",
            fix="Give the path of an image file, or run the study first.",
        )
    with ImageStore(plan.paths.images) as images:
        if request.image not in images.row:
            raise NotInStudy(
                problem=f'"{request.image}" is neither a file nor an image of study {plan.study.study}'
                + registry.did_you_mean(request.image, images.ids),
                reason=f"An image is a file, or one of the {len(images.ids)} image ids in {plan.paths.images}.",
                fix=f"Give a path, or an id such as {images.ids[0]}.",
            )
        one = [request.image]
        organ = images.mask(plan.dataset.organ, one)[0][0] if plan.dataset.organ else None
        return ImageToExplain(
            request.image, images.pixels(one)[0], images.digest, images.mask("evidence", one)[0][0], True, organ
        )


def _output_folder(request: ExplainRequest, plan: Plan, image_id: str) -> Path:
    """Return the folder to write to, which must not exist, be empty, or hold an earlier explanation."""
    stem = Path(image_id).with_suffix("").as_posix().replace("/", "-")
    name = f"{plan.study.study}-{request.arch}-{request.seed}-{stem}"
    out = request.out or Path("explained") / name
    if out.exists() and not (out.is_dir() and ((out / MAPS_FILE).is_file() or not any(out.iterdir()))):
        raise CannotWrite(
            problem=f"{out} is there and is no earlier explanation.",
            reason="It would be replaced as a whole, and what lies in it would be lost.",
            fix="Name another folder with --out, or move it away.",
        )
    return out
