"""A dataset's card: config/datasets/<name>.yaml, checked, with what a study overrides of its reader's options.

The reader itself lies in data/readers/; it declares its own options, so a wrong one is refused here, before any job.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from gradfaith import registry
from gradfaith.data.fetch import Source
from gradfaith.data.grouping import Grouping
from gradfaith.errors import StudyInvalid, UnknownName
from gradfaith.study import DatasetUse
from gradfaith.training import Closed
from gradfaith.wording import invalid


class Dataset(Closed):
    """What the workflow must know of a dataset before it reads it."""

    name: str = Field("", description="the file's stem; filled in")
    title: str = Field(description="a line for tables and captions")
    reader: str = Field(description="a file in workflow/gradfaith/data/readers/")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the reader")
    raw: str | None = Field(
        None,
        description="the folder the images lie in; empty for a dataset that is computed, or fetched from `sources`",
    )
    sources: list[Source] = Field(
        default_factory=list, description="where `snakemake fetch` takes the images from, tried in this order"
    )
    files: str = Field(
        "", description="a table (name, sha256, compact_sha256) that tells which copy of a release this is"
    )
    groups: Grouping | None = Field(
        None, description="how groups are inferred from the images, where the dataset does not say who is who"
    )
    classes: list[str] = Field(min_length=2, description="the labels, in the order of the model's outputs")
    evidence: str = Field(
        "none", pattern="^(mask|box|point|parts|none)$", description="what is known of where the truth lies"
    )
    organ: str = Field(
        "", description="the region the reader knows as the organ, for the control that paints it evenly"
    )
    claimed: dict[str, int] = Field(
        default_factory=dict, description="patients of each class as the dataset's authors state them, for the audit"
    )
    licence: str = Field(description="under which terms the images may be used")
    citation: str = Field("", description="whom to cite")

    @classmethod
    def read(cls, use: DatasetUse, root: Path) -> "Dataset":
        """The card a study names, with what the study changes of it."""
        name = use.name
        path = root / "config" / "datasets" / f"{name}.yaml"
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        if not path.is_file():
            raise StudyInvalid(
                found=f'dataset.name: there is no dataset "{name}"{registry.did_you_mean(name, known)}',
                why=f"A dataset is a file in config/datasets/; there are {', '.join(known)}.",
                then="Name one of these, or write the file: config/README.md shows how.",
            )
        try:
            card = _placed(cls.model_validate((yaml.safe_load(path.read_text()) or {}) | {"name": name}), use.source)
        except ValidationError as error:
            raise invalid(f"config/datasets/{name}.yaml", error, cls) from None
        try:
            model = registry.load("readers", card.reader).Options
        except UnknownName as error:
            place = f"config/datasets/{name}.yaml: reader: "
            raise StudyInvalid(found=place + error.found, why=error.why, then=error.then) from None
        try:
            options = model.model_validate(_merged(card.options, use.options))
        except ValidationError as error:
            raise invalid(f"the options of dataset {name}", error, model) from None
        return card.model_copy(update={"options": options.model_dump()})

    @property
    def fetched(self) -> bool:
        """Whether its images come in by `snakemake fetch`; else they lie ready, or are computed."""
        return bool(self.sources)


def _placed(card: Dataset, source: str) -> Dataset:
    """Where the images will lie: the study's own source before the card's; a folder is read where it is."""
    where = Path(source)
    if source and not (where.is_dir() or (where.suffix.lower() == ".zip" and where.is_file())):
        raise StudyInvalid(
            found=f'dataset.source: "{source}" is no folder and no zip file.',
            why="It takes the place of the dataset's own sources.",
            then="Give the folder that holds the images, or their zip; relative paths start where `snakemake` is run.",
        )
    if source and where.is_dir():
        return card.model_copy(update={"raw": source, "sources": []})
    if source:
        card = card.model_copy(update={"raw": None, "sources": [Source(local=source)]})
    if card.raw and card.sources:
        raise StudyInvalid(
            found=f"config/datasets/{card.name}.yaml: raw and sources are both given.",
            why="Images either lie ready or are fetched into resources/.",
            then="Leave one of them out.",
        )
    return card.model_copy(update={"raw": f"resources/{card.name}/raw"}) if card.sources else card


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `under`, key by key, so that a study can change one option of a nested group."""
    nested = {
        key: _merged(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return under | over | nested
