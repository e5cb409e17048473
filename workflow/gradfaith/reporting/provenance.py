"""Collect the provenance of a study's numbers: settings, digests and versions, in one JSON document.

It contains no time, so a study that is repeated with the same files has the same provenance.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from gradfaith import __version__
from gradfaith.config.result_settings import ProvenanceSettings
from gradfaith.config.sections import RECIPE_VERSION
from gradfaith.storage import json_file
from gradfaith.storage.hdf5 import ImageStore
from gradfaith.storage.identity import STORE_FORMAT, TABLE_FORMAT

CARD_KEYS = (
    "arch", "seed", "external", "weights_sha256", "best_epoch", "temperature", "parameters", "device", "threads", "versions",
)  # fmt: skip
VERSIONED_PACKAGES = (
    "snakemake",
    "torch",
    "timm",
    "captum",
    "h5py",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "scikit-learn",
)


def collect_provenance(
    settings: ProvenanceSettings,
    code: Mapping[str, str],
    images: ImageStore,
    audit: Any,
    splits: Any,
    cards: Sequence[str],
) -> dict[str, Any]:
    """Return the study's settings, the digests of data, models and code, and the versions of all software.

    `code`: rule -> digest; `audit` and `splits`: contents of audit.json and of the split report; `cards`: paths of the
    models' cards.
    """
    return {
        "gradfaith": __version__,
        "study": settings.study,
        "dataset": settings.dataset
        | {"images": audit["images"], "groups": audit["groups"], "group_kind": audit["group_kind"]},
        "images_digest": images.digest,
        "splits": splits,
        "models": [_describe_model(json_file.read(card)) for card in cards],
        "code": dict(sorted(code.items())),
        "formats": {"tables": TABLE_FORMAT, "stores": STORE_FORMAT, "recipe": RECIPE_VERSION},
        "written_with": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED_PACKAGES},
    }


def collect_table_provenance(
    settings: ProvenanceSettings,
    code: Mapping[str, str],
    table_digest: str,
    audit: Any,
    splits: Any,
    cards: Sequence[Any],
) -> dict[str, Any]:
    """Return the same for a study of tables. `table_digest`: of the encoded table; `cards`: contents of the models' cards."""
    kept = ("images", "groups", "group_kind", "files", "left_out", "changed", "positive")
    return {
        "gradfaith": __version__,
        "study": settings.study,
        "dataset": settings.dataset | {key: audit[key] for key in kept},
        "table_digest": table_digest,
        "splits": splits,
        "models": [{key: card[key] for key in (*CARD_KEYS, "use") if key in card} for card in cards],
        "code": dict(sorted(code.items())),
        "formats": {"tables": TABLE_FORMAT},
        "written_with": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED_PACKAGES},
    }


def _describe_model(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the origin of a model's numbers, from its card; external and temperature only for a model of another study."""
    spec = {key: card["spec"].get(key) for key in ("mean", "std", "class_map")}
    return {key: card[key] for key in CARD_KEYS if key in card} | spec
