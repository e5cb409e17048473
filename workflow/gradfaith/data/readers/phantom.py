"""Compute the embedded phantom: lung-CT-like patients with known evidence, so that a study runs anywhere.

Classes: normal (no lesion), benign, malignant. A patient is a group; each has several neighbouring slices,
and every slice of a patient with lesions shows the first of them, which decides the label. Masks: "evidence" (all
lesions), "lungs", "body" (without the couch) and, where a marker or a text is planted, "shortcut". A record states
the properties of every lesion. It is a phantom, not a patient: what is right on it may be wrong in a clinic.
Deterministic per (options, slice); about 10 ms per slice of 224 pixels.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gradfaith.data.phantom import chest, ct_slices, lesions, scanner
from gradfaith.data.readers.contract import DecodedImage, ReaderOptions, Record
from gradfaith.errors import DatasetInvalid
from gradfaith.vocabulary import LesionProperties

View = Literal["chest", "lungs", "lung"]
_FIELD_MM: dict[View, int] = {"chest": round(2 * lesions.HALF_FIELD_MM), "lungs": 280, "lung": 200}
_LUNG = 0.42  # x of the middle of a lung, in half fields of view
_FILE = re.compile(r"phantom/(normal|benign|malignant)-(\d{3,})/(\d+)")


class Shortcut(BaseModel):
    """A class-correlated mark that is not disease."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["none", "marker", "kernel", "burnt_in_text"] = Field(
        "none",
        description="what is planted: a corner marker or a text (each with its own mask), or a reconstruction kernel (without)",
    )
    strength: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability that a patient's mark is that of its class; 0: independent of the class, 1: always",
    )
    where: Literal["train", "both"] = Field("both", description="`train`: in train and val only; `both`: also in test")


class Options(ReaderOptions):
    """The phantom population: its size, its difficulty and its planted shortcut."""

    size: int = Field(96, ge=32, le=512, description="width and height in pixels")
    view: View = Field(
        "chest",
        description="field of view: `chest` 380 mm, with the couch; `lungs` 280 mm around both lungs; "
        "`lung` 200 mm around the lung that is examined, as a targeted reconstruction",
    )
    patients_per_class: int = Field(40, ge=1, le=9999, description="patients of each of the three classes")
    slices_per_patient: int = Field(4, ge=1, le=64, description="neighbouring slices of each patient")
    difficulty: float = Field(
        0.35,
        ge=0,
        le=1,
        description="0: large, typical lesions and few vessels; 1: small, often faint lesions and many vessels",
    )
    seed: int = Field(0, ge=0, description="which phantom population is drawn")
    window: scanner.Window = Field(
        "lung",
        description="display window in Hounsfield units: `lung` -1250 to 250, `wide` -1050 to 550 (bone), `mediastinum` -160 to 240",
    )
    shortcut: Shortcut = Field(Shortcut(), description="a class-correlated mark that is not disease")


def files(raw: Path | None, options: Options) -> Mapping[str, Path]:  # noqa: ARG001 - a reader's signature
    """Return no file: the phantom is computed."""
    return {}


def index(raw: Path | None, options: Options) -> Iterator[Record]:  # noqa: ARG001 - computed, so there is no raw folder
    """Yield one record per slice, patient by patient."""
    for label in scanner.PHANTOM_CLASSES:
        for patient in range(options.patients_per_class):
            about = _lesion_properties(options, label, patient)
            for number in range(options.slices_per_patient):
                yield Record(
                    image_id=f"{label}-{patient:03d}-{number}",
                    file=f"phantom/{label}-{patient:03d}/{number}",
                    label=label,
                    group=f"{label}-{patient:03d}",
                    group_kind="patient",
                    evidence="none" if label == "normal" else "mask",
                    lesions=about,
                )


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001
    """Draw and scan one slice, and plant its shortcut."""
    cut = slice_spec(options, record)
    truth = ct_slices.draw_slice(cut)
    mark, seen = options.shortcut, options.shortcut.where == "both" or part != "test"
    tie = mark.strength if seen and mark.kind == "kernel" else 0.0
    view, kernel = _view(options, cut), scanner.draw_kernel(cut.seed, cut.patient, cut.label, tie)
    pixels = ct_slices.scan_slice(cut, truth, kernel, options.window)[view].copy()
    masks = {"lungs": truth.lungs[view], "body": truth.body[view]}
    if truth.evidence is not None:
        masks["evidence"] = truth.evidence[view]
    if seen and mark.kind in _MARKS:
        draw, stamp = _MARKS[mark.kind]
        if whose := draw(cut.seed, cut.patient, cut.label, mark.strength):
            masks["shortcut"] = stamp(pixels, whose)
    return DecodedImage(pixels, masks)


_MARKS: dict[str, tuple[Any, Any]] = {  # kind -> draws the class whose mark an image carries; stamps it
    "marker": (scanner.draw_marker, scanner.stamp_marker),
    "burnt_in_text": (scanner.draw_text, scanner.burn_text),
}


def _view(options: Options, cut: ct_slices.SliceSpec) -> tuple[slice, slice]:
    """Return the square of the drawn slice that is reconstructed, around the lungs or around the one that is examined."""
    patient, free = chest.draw_anatomy(cut.seed, cut.patient), cut.size - options.size
    aside = _LUNG * lesions.examined_side(cut.seed, cut.patient) if options.view == "lung" else 0.0
    middle = [(1 + centre) * cut.size / 2 for centre in (patient.centre_y, patient.centre_x + aside)]
    first = [min(max(round(at - options.size / 2), 0), free) for at in middle]
    return slice(first[0], first[0] + options.size), slice(first[1], first[1] + options.size)


def _lesion_properties(options: Options, label: scanner.PhantomClass, patient: int) -> tuple[LesionProperties, ...]:
    """Return what is true of a patient's lesions; the first one decides the label."""
    if label == "normal":
        return ()
    number = len(scanner.PHANTOM_CLASSES) * patient + scanner.PHANTOM_CLASSES.index(label)
    return tuple(item.about for item in lesions.draw_lesions(options.seed, number, label, options.difficulty))


def slice_spec(options: Options, record: Record) -> ct_slices.SliceSpec:
    """Return the slice that a record names; patients are numbered across classes, which hides the class."""
    found = _FILE.fullmatch(record.file)
    if not found or int(found[2]) >= options.patients_per_class or int(found[3]) >= options.slices_per_patient:
        raise DatasetInvalid(
            problem=f'"{record.file}" is not a slice of this phantom.',
            reason=f"The phantom has {options.patients_per_class} patients per class with {options.slices_per_patient} slices each.",
            fix="Run `snakemake` with `--forcerun index`, which makes the manifest (the list of images) again with these options.",
        )
    label: scanner.PhantomClass = next(name for name in scanner.PHANTOM_CLASSES if name == found[1])
    return ct_slices.SliceSpec(
        seed=options.seed,
        patient=len(scanner.PHANTOM_CLASSES) * int(found[2]) + scanner.PHANTOM_CLASSES.index(label),
        label=label,
        slice=int(found[3]),
        slices=options.slices_per_patient,
        size=round(options.size * _FIELD_MM["chest"] / _FIELD_MM[options.view]),
        difficulty=options.difficulty,
    )
