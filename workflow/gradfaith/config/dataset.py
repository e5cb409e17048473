"""Read a dataset's card, config/datasets/<name>.yaml, with the options of its reader that a study overrides.

The card also says where the files come from (`Source`). Its key `groups:` says which images share a patient where the
reader does not know it: file names hold the patient (`PatientPattern`), or groups are inferred from the images (`Grouping`).
The reader itself is a file in data/readers/; it declares its options, so a wrong one is an error before any job.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.grouping import Grouping, GroupsKey, PatientPattern
from gradfaith.config.locate import read_document
from gradfaith.config.sections import DatasetUse, Line, StrictModel
from gradfaith.config.validation_errors import invalid_study
from gradfaith.errors import StudyInvalid, UnknownName
from gradfaith.storage import paths
from gradfaith.vocabulary import ALL_CLASSES, ARCHIVE_SUFFIXES, EvidenceKind

SOURCE_KINDS = ("local", "url", "kagglehub", "manual")


class Source(BaseModel):
    """One place a dataset's files may come from: exactly one of local, url, kagglehub and manual."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    local: str | None = Field(
        None,
        description="a folder or an archive; relative paths start at the repository",
        min_length=1,
    )
    url: str | None = Field(
        None, description="the address of an archive (ZIP, .tar, .tar.gz, .tar.xz)", pattern="^https?://"
    )
    kagglehub: str | None = Field(None, description="a Kaggle dataset's handle, owner/name", pattern="^[^/ ]+/[^ ]+$")
    manual: str | None = Field(
        None, description="instructions for a download by hand, shown if all other sources failed", min_length=1
    )
    sha256: str | None = Field(
        None, description="SHA-256 of the archive; a file with another hash is rejected", pattern="^[0-9a-f]{64}$"
    )

    @model_validator(mode="after")
    def _one(self) -> "Source":
        given = [kind for kind in SOURCE_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a source is exactly one of {', '.join(SOURCE_KINDS)}; this has {' and '.join(given) or 'none'}"
            )
        if self.url and not (
            urlsplit(self.url).hostname and urlsplit(self.url).port != 0
        ):  # a port beyond 65535 raises
            raise ValueError(f"{self.url} is not the address of a file: the server or the port is missing")
        if self.sha256 and given[0] not in {"local", "url"}:
            raise ValueError(f"sha256 is the hash of an archive, but a {given[0]} source has none")
        return self

    def __str__(self) -> str:
        kind = next(kind for kind in SOURCE_KINDS if getattr(self, kind) is not None)
        return f"{kind} {getattr(self, kind)}" if kind != "manual" else "by hand"


class Dataset(StrictModel):
    """What the workflow must know of a dataset before it reads it."""

    name: str = Field("", description="the file's stem; filled in")
    title: Line = Field(description="title in tables and captions: one line")
    reader: str = Field(
        description="the reader: `folder`, `iqothnccd`, `phantom`, or another file in workflow/gradfaith/data/readers/"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the reader")
    raw: str | None = Field(
        None,
        description="the folder with the images; empty for a dataset that is computed, or fetched from `sources`",
    )
    sources: list[Source] = Field(
        default_factory=list, description="sources for `snakemake fetch`, tried in this order"
    )
    files: str = Field("", description="a table (name, sha256, compact_sha256) that identifies the copy of a release")
    groups: GroupsKey | None = Field(
        None,
        description="which images share a patient, if the reader does not know it: `{}` infers groups from the images, "
        "`{pattern: ...}` takes the patient from the file name",
    )
    private: bool = Field(
        False,
        description="replace file names and patient ids by keyed hashes in all outputs; the key is "
        "private.key in the dataset's folder of resources/",
    )
    classes: list[Annotated[Line, Field(min_length=1)]] = Field(
        min_length=2, description="names of the classes, in the order of the model's outputs"
    )
    evidence: EvidenceKind = Field("none", description="the kind of evidence: where the truth lies in an image")
    organ: str = Field("", description="the reader's region of the organ, for the control that marks it evenly")
    claimed: dict[str, int] = Field(
        default_factory=dict,
        description="number of patients of each class that the dataset's authors state, for the audit",
    )
    licence: str = Field(description="licence of the images")
    citation: str = Field("", description="key of the citation in resources/references.bib")

    @field_validator("classes")
    @classmethod
    def _names_of_their_own(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) < len(classes):
            raise ValueError(f"each once, found {', '.join(classes)}")
        if ALL_CLASSES in classes:
            raise ValueError(
                f'"{ALL_CLASSES}" is the average over all classes in every table; name the class otherwise'
            )
        return classes

    @classmethod
    def read(cls, use: DatasetUse, root: Path) -> "Dataset":
        """Read the card that a study names, with the study's changes."""
        name = use.name
        path, known = paths.dataset_file(root, name), paths.dataset_names(root)
        if not path.is_file():
            raise StudyInvalid(
                problem=f'dataset.name: there is no dataset "{name}"{registry.did_you_mean(name, known)}',
                reason=f"A dataset is a file in config/datasets/; there are {', '.join(known)}.",
                fix="Use one of these names, or write the file: docs/your-data.md shows how.",
            )
        try:
            card = _placed(cls.model_validate(read_document(path, "a dataset") | {"name": name}), use.source)
        except ValidationError as error:
            raise invalid_study(f"config/datasets/{name}.yaml", error, cls) from None
        try:
            model = options.options_model("readers", card.reader)
        except UnknownName as error:
            place = f"config/datasets/{name}.yaml: reader: "
            raise StudyInvalid(problem=place + error.problem, reason=error.reason, fix=error.fix) from None
        try:
            values = model.model_validate(_merged(card.options, use.options))
        except ValidationError as error:
            raise invalid_study(f"the options of dataset {name}", error, model) from None
        return card.model_copy(update={"options": values.model_dump()})

    @property
    def inferred_groups(self) -> Grouping | None:
        """Return how groups are inferred from the images; None where they are not."""
        return self.groups if isinstance(self.groups, Grouping) else None

    @property
    def patient_pattern(self) -> str:
        """Return the pattern of the patient in file names; "" where they do not hold it."""
        return self.groups.pattern if isinstance(self.groups, PatientPattern) else ""

    @property
    def fetched(self) -> bool:
        """Tell whether its images are fetched by `snakemake fetch`; else they are there already, or computed."""
        return bool(self.sources)


def _placed(card: Dataset, source: str) -> Dataset:
    """Return the card with the folder of its images: the study's own source comes before the card's."""
    where = Path(source)
    if source and not (where.is_dir() or (where.name.lower().endswith(ARCHIVE_SUFFIXES) and where.is_file())):
        raise StudyInvalid(
            problem=f'dataset.source: "{source}" is neither a folder nor an archive.',
            reason="`dataset.source` replaces the dataset's own sources of images.",
            fix="Set it to the folder of the images, or to their archive; a relative path starts at the folder where you run "
            "`snakemake`.",
        )
    if source and where.is_dir():
        return card.model_copy(update={"raw": source, "sources": []})
    if source:
        card = card.model_copy(update={"raw": None, "sources": [Source(local=source)]})
    if card.raw and card.sources:
        raise StudyInvalid(
            problem=f"config/datasets/{card.name}.yaml has both raw and sources.",
            reason="Images are either in the folder `raw`, or fetched from `sources` into resources/.",
            fix="Remove one of the two keys.",
        )
    return card.model_copy(update={"raw": paths.fetched_images(card.name)}) if card.sources else card


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge options key by key, so that a study can change one option of a nested group."""
    nested = {
        key: _merged(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return under | over | nested
