"""Resolve the request of `gradfaith explain` in the study and on disk, before any model is loaded.

An image is a file (or every image in a folder), prepared as the study's images are, or an image id of images.h5; then its
evidence, organ and true class are known. A method is a label of the study, with the layer, options and score
that it has there, or the name of any method or control, with its defaults and the architecture's layer.
Names that do not exist are refused.
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
from gradfaith.data.readers.contract import IMAGE_SUFFIXES, natural_sort_key
from gradfaith.errors import (
    ArgumentInvalid,
    CannotWrite,
    ModelUnusable,
    NotInStudy,
    UnknownName,
    UnreadableImage,
    name_some,
)
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import ImageStore

MAPS_FILE = "maps.h5"  # a folder with this file is an earlier explanation, and may be replaced


@dataclass(frozen=True)
class ExplainRequest:
    """The arguments of `gradfaith explain`."""

    images: Sequence[str]  # files, folders of files, or image ids of the study
    study: str
    arch: str
    seed: int
    methods: Sequence[str] = ()
    target: str = ""
    out: Path | None = None
    device: str = "auto"
    window: tuple[float, float] | None = None  # grey values that become black and white, of images of more than 8 bits


@dataclass(frozen=True)
class ImageToExplain:
    """One image as the model's input, with its known properties."""

    image_id: str
    pixels: NDArray[np.uint8]  # (c, h, w)
    digest: str  # of the store that holds it, or of its own pixels
    evidence: NDArray[np.bool_]  # (h, w)
    in_study: bool  # one of the study's images, or else a file
    out: Path  # the folder to write
    organ: NDArray[np.bool_] | None = None  # (h, w)
    window: tuple[float, float] | None = None  # of an image of more than 8 bits


@dataclass(frozen=True)
class ResolvedRequest:
    """A request whose names have all been found."""

    request: ExplainRequest
    plan: Plan
    methods: Mapping[str, MethodSettings]  # by label
    weights: Path
    card: Path
    images: Sequence[ImageToExplain]


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
    return ResolvedRequest(request, plan, methods, weights, card, _load_images(plan, request))


def read_predictions(resolved: ResolvedRequest) -> pd.DataFrame | None:
    """Read the model's predictions on the study's images; None if there are none yet."""
    path = Path(resolved.plan.paths.predictions.format(arch=resolved.request.arch, seed=resolved.request.seed))
    return parquet.read(path, parquet.PREDICTIONS) if path.is_file() else None


def _require_offered(word: str, kind: str, offered: Sequence[str], plan: Plan) -> None:
    """Raise if the study does not have this architecture, seed or class."""
    if word not in offered:
        raise NotInStudy(
            problem=f'study {plan.study.study} has no {kind} "{word}"{registry.did_you_mean(word, offered)}',
            reason="`explain` uses the trained models and the classes of a study.",
            fix=f"Use one of: {', '.join(offered)}.",
        )


def _resolve_methods(plan: Plan, arch: str, names: Iterable[str]) -> dict[str, MethodSettings]:
    """Return label -> settings; without names, every method of the study's bundles for the architecture."""
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
        reason="A method has its label in the study's bundles, or its own name; `gradfaith methods` lists the names.",
        fix=f"Use one of: {', '.join(every)}.",
    )


def _require_model_file(template: str, request: ExplainRequest, study: Path) -> Path:
    """Return the path of a file of the model; raise if it was not made yet."""
    path = Path(template.format(arch=request.arch, seed=request.seed))
    if not path.is_file():
        raise ModelUnusable(
            problem=f"{request.arch} with seed {request.seed} is not trained yet: {path} is not there.",
            reason="Maps explain the predictions of a trained model.",
            fix=f"Run `snakemake {path} --configfile {study}` first.",
        )
    return path


def _load_images(plan: Plan, request: ExplainRequest) -> list[ImageToExplain]:
    """Load the images from their files or from the study's images."""
    if request.window and not request.window[0] < request.window[1]:
        raise ArgumentInvalid(
            problem="--window {:g} {:g}: LOW must be below HIGH.".format(*request.window),
            reason="LOW becomes black and HIGH white.",
            fix="Give the lower grey value first, for example --window -1000 400 for lungs in Hounsfield units.",
        )
    names = [name for given in request.images for name in _expand_folder(given)]
    files = {name: Path(name) for name in dict.fromkeys(names) if Path(name).is_file()}
    others = [name for name in dict.fromkeys(names) if name not in files]
    ids = _distinct_names(list(files.values()))
    outs = _output_folders(request, plan, [*(ids[path] for path in files.values()), *others])
    loaded = {name: _load_file(plan, request, path, ids[path], outs[ids[path]]) for name, path in files.items()}
    loaded |= _load_from_study(plan, others, outs)
    images = [loaded[name] for name in dict.fromkeys(names)]
    if request.window and not any(image.window for image in images):
        raise ArgumentInvalid(
            problem="--window {:g} {:g}: no image has more than 8 bits.".format(*request.window),
            reason="A window selects the grey values that become black and white in images with more than 8 bits.",
            fix="Run the command without --window.",
        )
    return images


def _expand_folder(name: str) -> list[str]:
    """Return the images of a folder, in natural order; a name that is not a folder is returned unchanged."""
    folder = Path(name)
    if not folder.is_dir():
        return [name]
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not found:
        inner = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
        raise NotInStudy(
            problem=f"the folder {name} contains no image"
            + (f", only the folders {name_some(inner)}." if inner else "."),
            reason=f"Images are {', '.join(sorted(IMAGE_SUFFIXES))} files directly in the folder.",
            fix=f"Give a folder with images, for example {folder / inner[0]}."
            if inner
            else "Give another folder, or a file.",
        )
    return [path.as_posix() for path in sorted(found, key=lambda path: natural_sort_key(path.name))]


def _distinct_names(files: Sequence[Path]) -> dict[Path, str]:
    """Return the name of each file; its path, if another file has the same name."""
    names = [path.name for path in files]
    return {path: path.name if names.count(path.name) == 1 else path.as_posix() for path in files}


def _load_file(plan: Plan, request: ExplainRequest, path: Path, image_id: str, out: Path) -> ImageToExplain:
    colour = int(plan.dataset.options.get("channels", 1))
    try:
        found = decode.read_as_in_study(path, plan.study.image, colour=colour, window=request.window)
    except UnreadableImage as error:
        raise UnreadableImage(
            problem=error.problem,
            reason="A map can be made only of an image whose pixels can be read.",
            fix="Give another file, or export the image again as one PNG, JPEG, TIFF or BMP.",
        ) from None
    pixels = found.pixels
    return ImageToExplain(
        image_id,
        pixels,
        hashlib.sha256(pixels.tobytes()).hexdigest(),
        np.zeros(pixels.shape[1:], dtype=np.bool_),
        in_study=False,
        out=out,
        window=found.window,
    )


def _load_from_study(plan: Plan, names: Sequence[str], outs: Mapping[str, Path]) -> dict[str, ImageToExplain]:
    """Load images of the study by their ids."""
    if not names:
        return {}
    if not Path(plan.paths.images).is_file():
        raise NotInStudy(
            problem=f'there is no file "{names[0]}"{_near_file(names[0])} It is no image id either: '
            f"the study has no images yet ({plan.paths.images} does not exist).",
            reason="An image is a file, or an image id of the study's images.",
            fix="Give the path of an image file, or run the study first.",
        )
    with ImageStore(plan.paths.images) as images:
        for name in names:
            if name not in images.row:
                near = _near_file(name) if Path(name).suffix else registry.did_you_mean(name, images.ids)
                raise NotInStudy(
                    problem=f'"{name}" is neither a file nor an image of study {plan.study.study}{near}',
                    reason=f"An image is a file, or one of the {len(images.ids)} image ids in {plan.paths.images}.",
                    fix=f"Give a path, or an id such as {images.ids[0]}.",
                )
        found = dict[str, ImageToExplain]()
        for name in names:
            organ = images.mask(plan.dataset.organ, [name])[0][0] if plan.dataset.organ else None
            evidence = images.mask("evidence", [name])[0][0]
            pixels = images.pixels([name])[0]
            found[name] = ImageToExplain(name, pixels, images.digest, evidence, True, outs[name], organ)
        return found


def _near_file(name: str) -> str:
    """Return a question for a file of a similar name, or a full stop."""
    folder = Path(name).parent
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return registry.did_you_mean(Path(name).name, names)


def _output_folders(request: ExplainRequest, plan: Plan, ids: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each image, which must not exist, be empty, or hold an earlier explanation."""
    study = f"{plan.study.study}-{request.arch}-{request.seed}"
    stems = [Path(image_id).with_suffix("").as_posix().strip("/").replace("/", "-") for image_id in ids]
    names = [
        stem if stems.count(stem) == 1 else image_id.strip("/").replace("/", "-")
        for image_id, stem in zip(ids, stems, strict=True)
    ]
    if len(ids) == 1:
        outs = [request.out or Path("explained") / f"{study}-{names[0]}"]
    else:
        outs = [(request.out or Path("explained") / study) / name for name in names]
    for out in outs:
        if out.exists() and not (out.is_dir() and ((out / MAPS_FILE).is_file() or not any(out.iterdir()))):
            raise CannotWrite(
                problem=f"{out} exists, but `gradfaith explain` did not write it.",
                reason="`explain` would replace its contents.",
                fix="Choose another folder with --out.",
            )
    return dict(zip(ids, outs, strict=True))
