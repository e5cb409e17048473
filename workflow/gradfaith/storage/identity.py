"""Describe the identity of a table or store: its study, model and cell, and the files from which it was made.

Every table and store contains its identity. Every reader compares it with the path of the file, so a file that was
copied from another seed, architecture or study raises an error. `made_from` contains the digests of the input files;
storage/origins.py compares them with the files beside it.

The format versions are here, because this module imports neither h5py nor pyarrow. So every rule can have the format
version of its outputs among its params, and files of an older format are computed again instead of refused.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gradfaith.errors import ForeignFile
from gradfaith.storage.paths import RESULTS, TABLE_STUDY, StudyPaths

TABLE_FORMAT = 2
STORE_FORMAT = 4
CARD_FORMAT = 2  # of a model's card.json
VERDICT_FORMAT = 1
KINDS = (  # as StudyPaths calls them
    "manifest", "groups", "links", "splits", "images", "card", "predictions", "maps", "faithfulness",
    "faithfulness_curves", "localization", "agreement", "across", "randomisation", "scores", "curves", "estimates",
    "contrasts", "ranks", "meta", "classification", "claims", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """The identity of a file; fields are empty if unknown, or if the path is outside a study's folders."""

    kind: str = ""
    study: str = ""
    arch: str = ""
    seed: int | None = None
    bundle: str = ""
    battery: str = ""
    made_from: Mapping[str, str] = field(default_factory=dict)  # path -> digest of its content

    @classmethod
    def of_place(cls, path: Path | str) -> "Identity":
        """Return the identity that belongs to a path."""
        text = Path(path).as_posix()
        for kind, pattern in PATTERNS.items():
            if match := pattern.search(text):
                found = {name: value or "" for name, value in match.groupdict().items()}
                seed = int(found["seed"]) if found.get("seed") else None
                return cls(
                    kind, found["study"], found.get("arch", ""), seed, found.get("bundle", ""), found.get("battery", "")
                )
        return cls()

    @classmethod
    def from_json(cls, text: str) -> "Identity":
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def check_place(self, path: Path | str) -> None:
        """Raise an error if a file with this identity does not belong at `path`; outside a study any file may."""
        expected = self.of_place(path)
        names = ["kind", "arch", "seed", "bundle", "battery", *(["study"] if self.study and expected.study else [])]
        if expected.kind and any(getattr(self, name) != getattr(expected, name) for name in names):
            raise ForeignFile(
                problem=f"{path} contains {self}, but {expected} belongs there.",
                reason="Numbers of another study, model or cell would appear under this name.",
                fix=advise_replacement(path),
            )

    def __str__(self) -> str:
        """Return the identity as text for messages: maps of resnet18, seed 1, bundle cams, study phantom."""
        parts = [f"of {self.arch}" if self.arch else "", f"seed {self.seed}" if self.seed is not None else ""]
        parts += [f"{name} {value}" for name in ("bundle", "battery", "study") if (value := getattr(self, name))]
        return " ".join([self.kind or "a file outside any study", ", ".join(filter(None, parts))]).strip()


def advise_replacement(*paths: Path | str) -> str:
    """Return the fix for unusable files: delete them if they are a study's results, which Snakemake can compute again."""
    names = " and ".join(str(path) for path in paths)
    if all(RESULTS in Path(path).absolute().parts[:-2] for path in paths):
        return f"Delete {names} and run again: Snakemake computes only missing files."
    return f"Replace {names} by an undamaged copy, or name a file of results/<study>/."


WILDCARDS = {"arch": "[^/]+", "seed": r"\d+", "bundle": "[^/.]+", "battery": "[^/.]+"}


def _pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of a path with wildcards in braces; the folder of the study may be missing."""
    inside = re.escape(template.removeprefix(f"{RESULTS}/{{study}}/"))
    for name, pattern in WILDCARDS.items():
        inside = inside.replace(rf"\{{{name}\}}", f"(?P<{name}>{pattern})")
    return re.compile(rf"(?:^|/)(?:{RESULTS}/(?P<study>[^/]+)/)?{inside}$")


_TEMPLATES = StudyPaths("{study}", "{study}", "{study}")
PATTERNS = {kind: _pattern(getattr(_TEMPLATES, kind)) for kind in KINDS}
PATTERNS |= {kind: _pattern(_TEMPLATES.of_table(kind)) for kind in TABLE_STUDY}
