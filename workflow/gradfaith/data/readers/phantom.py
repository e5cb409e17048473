"""Compute the embedded phantom: lung-CT-like patients with known evidence, so that a study runs anywhere.

Classes: normal (no nodule), benign, malignant. A patient is a group; each has several neighbouring slices,
and every slice of a patient with a nodule shows it. Masks: "evidence" (the nodule), "lungs", "body" (without
the couch) and, where a marker is planted, "shortcut". It is a phantom, not a patient: what is right on it may
be wrong in a clinic. Deterministic per (options, slice); about 10 ms per slice of 224 pixels.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gradfaith.data.phantom import ct_slices, scanner
from gradfaith.data.readers.contract import DecodedImage, ReaderOptions, Record
from gradfaith.errors import DatasetInvalid

_FILE = re.compile(r"phantom/(normal|benign|malignant)-(\d{3,})/(\d+)")


class Shortcut(BaseModel):
    """A class-correlated mark that is not disease."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["none", "marker", "kernel"] = Field(
        "none", description="what is planted: a corner marker (with its own mask) or a reconstruction kernel (without)"
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
    patients_per_class: int = Field(40, ge=1, le=9999, description="patients of each of the three classes")
    slices_per_patient: int = Field(4, ge=1, le=64, description="neighbouring slices of each patient")
    difficulty: float = Field(
        0.35,
        ge=0,
        le=1,
        description="0: large, bright nodules and few vessels; 1: small, often faint ones and many vessels",
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
            for number in range(options.slices_per_patient):
                yield Record(
                    image_id=f"{label}-{patient:03d}-{number}",
                    file=f"phantom/{label}-{patient:03d}/{number}",
                    label=label,
                    group=f"{label}-{patient:03d}",
                    group_kind="patient",
                    evidence="none" if label == "normal" else "mask",
                )


def read(raw: Path | None, options: Options, record: Record, part: str | None) -> DecodedImage:  # noqa: ARG001
    """Draw and scan one slice, and plant its shortcut."""
    cut = slice_spec(options, record)
    truth = ct_slices.draw_slice(cut)
    mark, seen = options.shortcut, options.shortcut.where == "both" or part != "test"
    tie = mark.strength if seen and mark.kind == "kernel" else 0.0
    pixels = ct_slices.scan_slice(
        cut, truth, scanner.draw_kernel(cut.seed, cut.patient, cut.label, tie), options.window
    )
    masks = {"lungs": truth.lungs, "body": truth.body}
    if truth.evidence is not None:
        masks["evidence"] = truth.evidence
    if (
        seen
        and mark.kind == "marker"
        and (whose := scanner.draw_marker(cut.seed, cut.patient, cut.label, mark.strength))
    ):
        masks["shortcut"] = scanner.stamp_marker(pixels, whose)
    return DecodedImage(pixels, masks)


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
        size=options.size,
        difficulty=options.difficulty,
    )
