"""Where every number of a study comes from, in one document.

No time of day is in it: a study made again from the same files has the same provenance.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradfaith import __version__
from gradfaith.config.training import RECIPE_VERSION
from gradfaith.storage.hdf5 import FORMAT_VERSION as STORE_FORMAT
from gradfaith.storage.hdf5 import Images
from gradfaith.storage.parquet import FORMAT_VERSION as TABLE_FORMAT

OF_MODEL = (
    "arch", "seed", "external", "weights_sha256", "best_epoch", "temperature", "parameters", "device", "threads", "versions",
)  # fmt: skip
VERSIONED = ("snakemake", "torch", "timm", "captum", "h5py", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn")


def gather(
    study: Mapping[str, Any], code: Mapping[str, str], images: Images, audit: Any, splits: Any, cards: Sequence[str]
) -> dict[str, Any]:
    """The study's keys with defaults, the digests of data, models and code, and the versions beneath."""
    return {
        "gradfaith": __version__,
        "study": study["study"],
        "dataset": study["dataset"]
        | {"images": audit["images"], "groups": audit["groups"], "group_kind": audit["group_kind"]},
        "images_digest": images.digest,
        "splits": splits,
        "models": [_model(json.loads(Path(card).read_text())) for card in cards],
        "code": dict(sorted(code.items())),
        "formats": {"tables": TABLE_FORMAT, "stores": STORE_FORMAT, "recipe": RECIPE_VERSION},
        "written_with": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED},
    }


def _model(card: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model's card what its numbers rest on; external and temperature only where it was trained in another study."""
    spec = {key: card["spec"].get(key) for key in ("mean", "std", "class_map")}
    return {key: card[key] for key in OF_MODEL if key in card} | spec
