"""A dataset's card: config/datasets/<name>.yaml, checked, with what a study overrides of its reader's options.

The reader itself lies in data/readers/; it declares its own options, so a wrong one is refused here, before any job.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from gradfaith import registry
from gradfaith.errors import StudyInvalid, UnknownName
from gradfaith.study import Closed
from gradfaith.wording import invalid


class Dataset(Closed):
    """What the workflow must know of a dataset before it reads it."""

    name: str = Field("", description="the file's stem; filled in")
    title: str = Field(description="a line for tables and captions")
    reader: str = Field(description="a file in workflow/gradfaith/data/readers/")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the reader")
    raw: str | None = Field(None, description="the folder the images lie in; empty for a dataset that is computed")
    classes: list[str] = Field(min_length=2, description="the labels, in the order of the model's outputs")
    evidence: str = Field(
        "none", pattern="^(mask|box|point|parts|none)$", description="what is known of where the truth lies"
    )
    licence: str = Field(description="under which terms the images may be used")
    citation: str = Field("", description="whom to cite")

    @classmethod
    def read(cls, name: str, root: Path, overrides: dict[str, Any]) -> "Dataset":
        path = root / "config" / "datasets" / f"{name}.yaml"
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        if not path.is_file():
            raise StudyInvalid(
                found=f'dataset.name: there is no dataset "{name}"{registry.did_you_mean(name, known)}',
                why=f"A dataset is a file in config/datasets/; there are {', '.join(known)}.",
                then="Name one of these, or write the file: config/README.md shows how.",
            )
        try:
            card = cls.model_validate((yaml.safe_load(path.read_text()) or {}) | {"name": name})
        except ValidationError as error:
            raise invalid(f"config/datasets/{name}.yaml", error, cls) from None
        try:
            model = registry.load("readers", card.reader).Options
        except UnknownName as error:
            place = f"config/datasets/{name}.yaml: reader: "
            raise StudyInvalid(found=place + error.found, why=error.why, then=error.then) from None
        try:
            options = model.model_validate(_merged(card.options, overrides))
        except ValidationError as error:
            raise invalid(f"the options of dataset {name}", error, model) from None
        return card.model_copy(update={"options": options.model_dump()})


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `under`, key by key, so that a study can change one option of a nested group."""
    nested = {
        key: _merged(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return under | over | nested
