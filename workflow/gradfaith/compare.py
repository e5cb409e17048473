"""Two studies' estimates side by side, joined on what each estimate is of.

The difference is B minus A, where both have a number; each keeps its own interval. The difference gets none and no p-value:
the two may share images, patients or models, and what they share is not in these tables. Whoever wants a test puts both into
one study, where contrasts are paired.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gradfaith import tables
from gradfaith.errors import NotInStudy

KEYS = ["metric", "variant", "arch", "arch2", "method", "layer", "target", "by", "stratum"]
SHOWN = ["value", "low", "high", "n_groups", "n_seeds"]


def joined(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """One row per estimate of either study: its keys, both values with their intervals, the difference."""
    sides = [
        frame.assign(**{key: frame[key].fillna("") for key in KEYS})[KEYS + SHOWN].rename(
            columns={name: f"{name}_{side}" for name in SHOWN}
        )
        for frame, side in ((a, "a"), (b, "b"))
    ]
    both = sides[0].merge(sides[1], on=KEYS, how="outer", validate="one_to_one")
    return both.assign(difference=both["value_b"] - both["value_a"])


def read(study: str, root: Path) -> pd.DataFrame:
    """A finished study's estimates."""
    path = root / "results" / study / "estimates.parquet"
    if not path.is_file():
        done = sorted(found.parent.name for found in (root / "results").glob("*/estimates.parquet"))
        raise NotInStudy(
            found=f"of study {study} there is no results/{study}/estimates.parquet.",
            why="Two studies are compared by their estimates.",
            then=f"Finish that study, or name one of these: {', '.join(done) or 'none is finished here'}.",
        )
    return tables.read(path, tables.ESTIMATES)


def text(both: pd.DataFrame, names: tuple[str, str], *, by: str = "") -> str:
    """The estimates of one stratification as a person reads them, and how many only one study has."""
    here = both[both["by"] == by]
    known = here.dropna(subset=["value_a", "value_b"])
    columns = ["metric", "variant", "arch", "method", *(["stratum"] if by else [])]
    heads = [*columns, names[0], names[1], "difference"]
    rows = [heads]
    for row in known.to_dict("records"):
        cells = [
            str(row[column]) + (f" x {row['arch2']}" if column == "arch" and row["arch2"] else "") for column in columns
        ]
        rows.append([*cells, _interval(row, "a"), _interval(row, "b"), f"{row['difference']:+.4f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for side, name, other in (("a", names[0], "b"), ("b", names[1], "a")):
        alone = int((here[f"value_{side}"].notna() & here[f"value_{other}"].isna()).sum())
        lines.append(f"{alone} estimates have a number in {name} only")
    lines.append("Intervals are each study's own. The difference has none: what the studies share is not known here.")
    return "\n".join(lines) + "\n"


def _interval(row: Mapping[Any, Any], side: str) -> str:
    low, high = row[f"low_{side}"], row[f"high_{side}"]
    span = f" [{low:.4f}, {high:.4f}]" if pd.notna(low) and pd.notna(high) else ""
    return f"{row[f'value_{side}']:.4f}{span}"
