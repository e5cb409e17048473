"""Two studies' estimates side by side, joined on what each estimate is of.

The difference is B minus A, where both have a number; each keeps its own interval. The difference gets none and no p-value:
the two may share images, patients or models, and what they share is not in these tables. Whoever wants a test puts both into
one study, where contrasts are paired.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gradfaith.config import locate
from gradfaith.errors import NotInStudy
from gradfaith.registry import did_you_mean
from gradfaith.storage import parquet

KEYS = ["metric", "variant", "arch", "arch2", "method", "layer", "target", "by", "stratum"]
UNSHOWN = ["layer", "target"]  # of the keys
COMMON = {"metric": "metric", "arch": "architecture", "method": "method"}  # what two studies may have none of
NAMED = 5  # values that a line names
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


def read(said: str, root: Path) -> pd.DataFrame:
    """The estimates of a finished study, by its name or its YAML file."""
    study = locate.name(said)
    path = root / "results" / study / "estimates.parquet"
    if not path.is_file():
        done = sorted(found.parent.name for found in (root / "results").glob("*/estimates.parquet"))
        raise NotInStudy(
            found=f"of study {study} there is no results/{study}/estimates.parquet.",
            why="Two studies are compared by their estimates.",
            then=f"Finish that study, or name one of these: {', '.join(done) or 'none is finished here'}.",
        )
    return parquet.read(path, parquet.ESTIMATES)


def only(both: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric, which at least one of the studies has."""
    known = sorted(set(both["metric"]))
    if metric not in known:
        raise NotInStudy(
            found=f'neither study has a metric "{metric}"{did_you_mean(metric, known)}',
            why="A metric goes by the label that the study gives it.",
            then=f"Name one of these: {', '.join(known)}.",
        )
    return both[both["metric"] == metric]


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
    lines += [*_near(here), *(_nothing(here, names) if known.empty else ())]
    if by == "lesion_size":
        lines.append("Sizes are terciles of each study's own images: the same word may mean other sizes.")
    lines.append("Intervals are each study's own. The difference has none: what the studies share is not known here.")
    return "\n".join(lines) + "\n"


def _near(here: pd.DataFrame) -> list[str]:
    """How many of these would meet, were it not for keys that are not shown."""
    shown = [key for key in KEYS if key not in UNSHOWN]
    alone = [here[here[f"value_{one}"].notna() & here[f"value_{other}"].isna()] for one, other in ("ab", "ba")]
    pairs = alone[0][KEYS].merge(alone[1][KEYS], on=shown)
    count = len(pairs.drop_duplicates(shown))
    ways = {(key, x, y) for key in UNSHOWN for x, y in zip(pairs[f"{key}_x"], pairs[f"{key}_y"], strict=True) if x != y}
    said = ", ".join(f"{key} {x or '-'} and {y or '-'}" for key, x, y in sorted(ways)[:NAMED])
    more = f" and {len(ways) - NAMED} more" if len(ways) > NAMED else ""
    return [f"{count} of both differ only in {said}{more}"] if count else []


def _nothing(here: pd.DataFrame, names: tuple[str, str]) -> list[str]:
    """Why no estimate is in both."""
    a, b = (here[here[f"value_{side}"].notna()] for side in "ab")
    said = [
        f"They have no {word} in common: {names[0]} {_list(a[key])}; {names[1]} {_list(b[key])}."
        for key, word in COMMON.items()
        if not set(a[key]) & set(b[key])
    ]
    return said or ["They have no estimate in common: their metrics, architectures and methods do not meet."]


def _list(values: "pd.Series[str]") -> str:
    known = sorted(set(values))
    return ", ".join(known[:NAMED]) + (f" and {len(known) - NAMED} more" if len(known) > NAMED else "") or "none"


def _interval(row: Mapping[Any, Any], side: str) -> str:
    low, high = row[f"low_{side}"], row[f"high_{side}"]
    span = f" [{low:.4f}, {high:.4f}]" if pd.notna(low) and pd.notna(high) else ""
    return f"{row[f'value_{side}']:.4f}{span}"
