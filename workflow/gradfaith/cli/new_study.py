"""Write the dataset and the study of a folder of images, with a comment on every key, and check them.

    DIR/<class>/<image>     the classes are the folders; the folder reader (data/readers/folder.py) lists the images
    patients                from groups.csv, else from a pattern in file names if one is obvious, else inferred groups

A pattern is obvious if it finds a patient with a number in every file name, at least MIN_PATIENTS of them, and several
images of some. The study runs as written on a laptop: one small network, few epochs, and pretrained weights only if rule
`weights` has fetched them before.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from gradfaith.cli.study_check import StudyFindings, check_study
from gradfaith.config.sections import LABEL_LENGTH, LABEL_PATTERN
from gradfaith.data.box_annotations import write_boxes
from gradfaith.data.readers import folder
from gradfaith.data.readers.contract import Record
from gradfaith.errors import CannotWrite, DatasetInvalid, StudyInvalid
from gradfaith.registry import did_you_mean
from gradfaith.storage import paths
from gradfaith.storage.atomic import write_text

PATTERNS = (  # of the patient in file names, tried in this order
    r"^(?P<patient>[A-Za-z]+[-_ ]?\d+)[-_ ]",  # P12_3, patient-07_slice2
    r"^(?P<patient>\d+)[-_ ]",  # 0012_03
    r"[-_ ](?P<patient>[A-Za-z]+\d+)[-_ ]",  # scan_P12_3
)
MIN_PATIENTS = 6
COLOUR_SAMPLE = 12  # images
PRETRAINED = "resnet18"


@dataclass(frozen=True)
class ScannedFolder:
    """The contents of a folder of images."""

    images: Path
    masks: str  # folder of masks beside the images' folder; "": none, or masks/ within it
    records: Sequence[Record]
    colour: bool

    @property
    def classes(self) -> list[str]:
        return list(dict.fromkeys(record.label for record in self.records))

    @property
    def evidence(self) -> str:
        return next((record.evidence for record in self.records if record.evidence != "none"), "none")

    @property
    def knows_patients(self) -> bool:
        return all(record.group for record in self.records)

    @property
    def pattern(self) -> str:
        """Return the obvious pattern of the patient in file names; "" if there is none."""
        names = [PurePosixPath(record.file).name for record in self.records]
        return "" if self.knows_patients else next((one for one in PATTERNS if _is_obvious(one, names)), "")


def create_study(
    images: Path, masks: Path | None, name: str, root: Path, boxes: Path | None = None
) -> tuple[list[Path], StudyFindings]:
    """Write the two files below `root`/config; return them, and what a check without networks found.

    `boxes`: a folder of XML annotations, from which boxes.csv is written beside the images first.
    """
    name = name or re.sub(r"[^a-z0-9_-]+", "-", images.resolve().name.lower()).strip("-_")
    _check_name(name)
    dataset, study = paths.dataset_file(root, name), paths.named_study_file(root, name)
    for path in (dataset, study):
        if path.exists():
            raise CannotWrite(
                problem=f"{path} exists already.",
                reason="`init` writes new files and never replaces one.",
                fix=f"Choose another name, for example `--name {name}-2`.",
            )
    if boxes is not None:
        names = [record.file for record in scan_folder(images, masks).records]
        write_boxes(boxes, names, images / folder.BOXES)
    found = scan_folder(images, masks)
    write_text(dataset, dataset_text(found, name))
    write_text(study, study_text(found, name))
    return [dataset, study], check_study(str(study), root, fast=True)


def scan_folder(images: Path, masks: Path | None) -> ScannedFolder:
    """List the images of a folder by class, with their masks."""
    if not images.is_dir():
        beside = [path.name for path in images.parent.iterdir() if path.is_dir()] if images.parent.is_dir() else []
        raise DatasetInvalid(
            problem=f"the folder {images} is not there{did_you_mean(images.name, beside)}",
            reason="`init` looks into it for one folder of images per class.",
            fix="Name this folder with --images.",
        )
    own_masks = "" if masks is None or masks.resolve() == (images / folder.MASKS).resolve() else masks.as_posix()
    records = list(folder.index(images, folder.Options(masks=own_masks)))
    found = ScannedFolder(images, own_masks, records, _has_colour(images, records))
    if len(found.classes) < 2:
        raise DatasetInvalid(
            problem=f"{images} has images of one class only, {found.classes[0]}.",
            reason="A classifier needs two classes at least, one folder of images for each.",
            fix="Add the folder of another class, or give the folder above this one.",
        )
    if masks is not None and found.evidence == "none":
        raise DatasetInvalid(
            problem=f"no file in {masks} is the mask of an image in {images}.",
            reason="A mask must be in <masks>/<class>/ and have the name of its image up to the suffix.",
            fix=f"Put the mask of {records[0].file} at {masks / PurePosixPath(records[0].file).with_suffix('.png')}.",
        )
    return found


def _check_name(name: str) -> None:
    if not re.fullmatch(LABEL_PATTERN, name) or len(name) > LABEL_LENGTH:
        raise StudyInvalid(
            problem=f'"{name}" cannot be the name of a study.',
            reason=f"The name is part of paths: small letters, digits, - and _, at most {LABEL_LENGTH} characters.",
            fix="Choose another with --name, for example `--name lungs`.",
        )


def _is_obvious(pattern: str, names: Sequence[str]) -> bool:
    patients = [match["patient"] for name in names if (match := re.search(pattern, name))]
    return len(patients) == len(names) and MIN_PATIENTS <= len(set(patients)) < len(names)


def _has_colour(images: Path, records: Sequence[Record]) -> bool:
    """Return whether any of some images has pixels that are not grey."""
    for record in records[:: max(1, len(records) // COLOUR_SAMPLE)]:
        try:
            with Image.open(images / record.file) as image:
                if image.mode in {"RGB", "RGBA", "P", "CMYK"}:
                    pixels = np.asarray(image.convert("RGB"))
                    if (pixels.max(axis=2) != pixels.min(axis=2)).any():
                        return True
        except (UnidentifiedImageError, OSError, ValueError):
            continue  # the check names it
    return False


def dataset_text(found: ScannedFolder, name: str) -> str:
    """Return the YAML of the dataset."""
    counts = ", ".join(f"{label} {sum(one.label == label for one in found.records)}" for label in found.classes)
    options: dict[str, Any] = {"channels": 3 if found.colour else 1} | ({"masks": found.masks} if found.masks else {})
    return f"""\
# The images of {_quoted(found.images)}, written by `gradfaith init`. All keys: docs/keys.md.

title: {_quoted(name)} # a line for tables and captions
reader: folder # the class of an image is the name of its folder
raw: {_quoted(found.images)} # the folder of the class folders
options: {json.dumps(options, ensure_ascii=False)} # channels: 1 reads images as grey, 3 as colour
classes: {json.dumps(found.classes, ensure_ascii=False)} # in the order of the model's outputs; images found: {counts}
evidence: {found.evidence} # the ground truth of the images: none, mask, box or parts
{_groups_text(found)}
licence: unknown # under which terms the images may be used; please fill in
"""


def _groups_text(found: ScannedFolder) -> str:
    """Return the key `groups:` with its comment."""
    if found.knows_patients:
        return "# groups.csv in the raw folder says which images share a patient, so there is no key `groups:`."
    if pattern := found.pattern:
        return (
            f"# Which images share a patient: the file name says it. Please check that this is the patient.\n"
            f"groups: {{pattern: '{pattern}'}}"
        )
    return (
        "# Which images share a patient is not known, so groups are inferred: neighbours that look alike, and near duplicates.\n"
        "# Better: groups.csv (columns image,patient) in the raw folder. For CT slices write `groups: {}`, with more cues.\n"
        "groups: {cues: [order, duplicates]}"
    )


def _quoted(text: object) -> str:
    return json.dumps(str(text), ensure_ascii=False)


def study_text(found: ScannedFolder, name: str) -> str:
    """Return the YAML of the study."""
    channels = 3 if found.colour else 1
    masked = found.evidence in {"mask", "parts", "box"}
    localization = (
        "localization: [saliency_score, iou_area_matched] # metrics that compare maps with the evidence\n\n"
        if masked
        else "# localization: [saliency_score] # compares maps with evidence, which these images do not have\n\n"
    )
    metric = "saliency_score" if masked else "faith"
    return f"""\
# yaml-language-server: $schema=../../workflow/schemas/study.schema.json
# A first study of {_quoted(found.images)}, written by `gradfaith init` to run on a laptop. All keys: docs/keys.md.

study: {name} # all its output is under results/{name}/
title: {_quoted(name)} # a line for the report

dataset: {{name: {name}}} # config/datasets/{name}.yaml

split: {{train: 0.6, val: 0.2, test: 0.2}} # shares of the images; patients, or inferred groups, are never divided

image: {{size: 96, channels: {channels}}} # pixels of the square image; 224 shows more and takes about five times as long

# Label -> network, any timm name. Maps are taken from `layer:`, by default that of the network's family.
{_architecture_text(channels)}
seeds: [0, 1] # one model per network and seed

training: # the recipe
  epochs: 10 # passes over the training images
  batch: 16 # images per step
  lr: 3.0e-3 # highest learning rate
  warmup_epochs: 1 # epochs in which the learning rate rises
  threads: 1 # compute threads of one training

bundles: # attribution methods that are computed together
  cams: {{methods: [gradcam, layercam]}}

{localization}batteries: # faithfulness metrics, and what replaces the pixels that they remove
  masking: {{metrics: [faith], imputers: [black, blur]}}

agreement: [consist] # compares the maps of the two seeds

# The one comparison that is named before you see results.
primary: {{metric: {metric}, method: gradcam, against: random-grid}}

figures: [classification, confusion, training, panels, controls] # all are in docs/keys.md
"""


def _architecture_text(channels: int) -> str:
    if Path(paths.StudyPaths.pretrained(PRETRAINED)).is_file():
        return (
            f"architectures:\n  resnet: {{timm: {PRETRAINED}, weights: pretrained}} # these weights are here already\n"
        )
    return f"""\
# `weights: pretrained` starts from timm's weights, which rule `weights` downloads; it needs a network without `options`.
architectures:
  resnet:
    timm: resnet10t
    in_chans: {channels} # channels of the network
    options: {{channels: [32, 64, 96, 96], stem_width: 16, output_stride: 16, global_pool: avgmax}} # narrow, so fast
"""
