"""Define what a source of tables is, and audit an encoded table.

    TABLE = TableSource(limits=("people >= 20",))
    def read(*, <options>) -> SourceTable

A source is one file in this folder; its stem is the source's name. The audit counts duplicates, and those whose copies the split
puts on both sides, and names every column that models may not see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradfaith.data.tabular.columns import FEATURE, EncodedTable

OWN_ROW = "row"  # the kind of a group that is a single row
SHOWN = 10  # names that the audit lists


@dataclass(frozen=True)
class TableSource:
    """The declaration of a source of tables.

    `limits`: conditions on its options; `sources`: where rule `fetch` gets its files, tried in this order; none: there is no
    such rule.
    """

    limits: tuple[str, ...] = ()
    sources: tuple[Mapping[str, str], ...] = ()


def make_manifest(table: EncodedTable, group: pd.Series | None, file: str, sha256: str) -> pd.DataFrame:
    """Return the manifest of a table: one row per row; equal rows have the same hash, so no split divides them."""
    hashes = pd.util.hash_pandas_object(table.rows.filter(regex=f"^{FEATURE}"), index=False).astype(str)
    ids = table.rows["image_id"]
    places = ids.str.removeprefix("row-").astype(int)
    groups = ids if group is None else group.astype(str).iloc[places].to_numpy()
    nothing = {"lesion_px": 0, "lesion_share": 0.0, "width": 0, "height": 0, "bytes": 0, "lesions": 0, "lesion_mm": float("nan")}
    texts = ("lesion_kind", "lesion_density", "lesion_outline", "lesion_calcification", "lesion_contact", "reason")
    return pd.DataFrame(
        {
            "image_id": ids, "file": file, "sha256": sha256, "pixel_hash": hashes, "label": table.label, "group": groups,
            "group_kind": OWN_ROW if group is None else "stated", "evidence": "none", "status": "ok",
            **nothing, **dict.fromkeys(texts, ""),
        }
    )  # fmt: skip


def audit_table(table: Mapping[str, Any], manifest: pd.DataFrame, splits: pd.DataFrame) -> dict[str, Any]:
    """Return what a reader must know before the numbers: columns left out, duplicates, and duplicates across the split.

    `table`: the content of an encoded table; `manifest` and `splits` of the same rows.
    """
    rows = manifest.merge(splits, on="image_id", validate="one_to_one")
    copies = rows[rows.duplicated("pixel_hash", keep=False)]
    parts = rows.groupby("pixel_hash")["part"].nunique()
    across = copies[copies["pixel_hash"].isin(parts[parts > 1].index)]
    spread = rows.groupby("group")["part"].nunique()
    out = [column for column in table["columns"] if not column["used"]]
    changed = [column for column in table["columns"] if column["used"] and column["finding"]]
    return {
        "images": len(rows),
        "groups": int(rows["group"].nunique()),
        "group_kind": str(rows["group_kind"].iloc[0]),
        "left_out": {column["name"]: column["finding"] for column in out},
        "changed": {column["name"]: column["finding"] for column in changed},
        "duplicates": len(copies),
        "duplicates_across_the_split": {"rows": len(across), "list": list(across["image_id"][:SHOWN])},
        "groups_across_the_split": int((spread > 1).sum()),
        "notes": list(table["notes"]),
    }
