"""Say what a table or a store is: of which study, model and cell, and from which files it was made.

Every table and every store carries its identity, and every reader compares it with the place that the file lies in: a
file of another seed, architecture or study that was copied there is an error, not a number. `made_from` holds the
digests of the files that were read to make it; storage/origins.py compares them with the files beside it.

The format versions are here, where neither h5py nor pyarrow is imported, so that every rule can have the version of what
it writes among its parameters: files of an older format are made again, not refused.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gradfaith.errors import ForeignFile
from gradfaith.storage.paths import RESULTS, StudyPaths

TABLE_FORMAT = 2
STORE_FORMAT = 4
CARD_FORMAT = 2  # of a model's card.json
KINDS = (  # what StudyPaths calls them
    "manifest", "groups", "links", "splits", "images", "card", "predictions", "maps", "faithfulness",
    "faithfulness_curves", "localization", "agreement", "across", "randomisation", "scores", "curves", "estimates",
    "contrasts", "ranks", "meta", "classification",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """What a file is; empty: it has none of this, or does not lie where a study keeps such files."""

    kind: str = ""
    study: str = ""
    arch: str = ""
    seed: int | None = None
    bundle: str = ""
    battery: str = ""
    made_from: Mapping[str, str] = field(default_factory=dict)  # path -> digest of its content

    @classmethod
    def of_place(cls, path: Path | str) -> "Identity":
        """Return what a file is by the path that it lies at."""
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
        """Raise an error unless a file with this identity may lie at `path`; elsewhere than in a study it may."""
        expected = self.of_place(path)
        names = ["kind", "arch", "seed", "bundle", "battery", *(["study"] if self.study and expected.study else [])]
        if expected.kind and any(getattr(self, name) != getattr(expected, name) for name in names):
            raise ForeignFile(
                problem=f"{path} holds {self}; {expected} is expected there.",
                reason="What belongs to another study, model or cell would be counted under this one's name.",
                fix=f"Delete {path} and run again, or put the right file there.",
            )

    def __str__(self) -> str:
        """Return the identity in words, as errors give it: maps of resnet18, seed 1, bundle cams, study phantom."""
        parts = [f"of {self.arch}" if self.arch else "", f"seed {self.seed}" if self.seed is not None else ""]
        parts += [f"{name} {value}" for name in ("bundle", "battery", "study") if (value := getattr(self, name))]
        return " ".join([self.kind or "a file of no study", ", ".join(filter(None, parts))]).strip()


WILDCARDS = {"arch": "[^/]+", "seed": r"\d+", "bundle": "[^/.]+", "battery": "[^/.]+"}


def _pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of a path with wildcards in braces; the folder of the study may be missing."""
    inside = re.escape(template.removeprefix(f"{RESULTS}/{{study}}/"))
    for name, pattern in WILDCARDS.items():
        inside = inside.replace(rf"\{{{name}\}}", f"(?P<{name}>{pattern})")
    return re.compile(rf"(?:^|/)(?:{RESULTS}/(?P<study>[^/]+)/)?{inside}$")


_TEMPLATES = StudyPaths("{study}", "{study}", "{study}")
PATTERNS = {kind: _pattern(getattr(_TEMPLATES, kind)) for kind in KINDS}
