"""Compare the estimates of two finished studies, joined on metric, variant, architecture, method and stratum.

The difference is B minus A, if both have a number; each keeps its own interval. The difference has neither an
interval nor a p-value: the studies may share images, patients or models, and these tables do not tell which.
For a test, put both into one study, where contrasts are paired.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gradfaith.config import locate
from gradfaith.errors import NotInStudy, name_some
from gradfaith.registry import did_you_mean
from gradfaith.reporting.escaping import one_line
from gradfaith.storage import parquet, paths

JOIN_KEYS = ["metric", "variant", "arch", "arch2", "method", "layer", "target", "by", "stratum"]
HIDDEN_KEYS = ["layer", "target"]  # joined on, not printed
KEY_NOUNS = {
    "metric": "metric",
    "arch": "architecture",
    "method": "method",
}  # in which two studies can have nothing in common
COMPARED_COLUMNS = ["value", "low", "high", "n_groups", "n_seeds"]


def join_estimates(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return one row per estimate of either study: its keys, both values with their intervals, and the difference."""
    sides = [
        frame.assign(**{key: frame[key].fillna("") for key in JOIN_KEYS})[JOIN_KEYS + COMPARED_COLUMNS].rename(
            columns={name: f"{name}_{side}" for name in COMPARED_COLUMNS}
        )
        for frame, side in ((a, "a"), (b, "b"))
    ]
    both = sides[0].merge(sides[1], on=JOIN_KEYS, how="outer", validate="one_to_one")
    return both.assign(difference=both["value_b"] - both["value_a"])


def read_estimates(name_or_file: str, root: Path) -> pd.DataFrame:
    """Read the estimates of a finished study, by its name or its YAML file."""
    study = locate.study_name(name_or_file)
    path = root / paths.StudyPaths(study, study, study).estimates
    if not path.is_file():
        done = sorted(path.parent.name for path in (root / paths.RESULTS).glob("*/estimates.parquet"))
        raise NotInStudy(
            problem=f"there is no file results/{study}/estimates.parquet.",
            reason="The command reads the estimates of finished studies.",
            fix=f"Run study {study} first, or name a finished one: {', '.join(done) or 'none is finished here'}.",
        )
    return parquet.read(path, parquet.ESTIMATES)


def select_metric(both: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of one metric; raise if neither study has it."""
    known = sorted(set(both["metric"]))
    if metric not in known:
        raise NotInStudy(
            problem=f'neither study has a metric "{metric}"{did_you_mean(metric, known)}',
            reason="A metric has the label that the study gives it.",
            fix=f"Use one of: {', '.join(known)}.",
        )
    return both[both["metric"] == metric]


def format_comparison(both: pd.DataFrame, names: tuple[str, str], *, by: str = "") -> str:
    """Return the text that `gradfaith compare` prints: the estimates of one stratification, and how many match.

    `names`: what the studies are called. `by`: "" (all images), "label" or "lesion_size".
    """
    here = both[both["by"] == by]
    known = here.dropna(subset=["value_a", "value_b"])
    columns = ["metric", "variant", "arch", "method", *(["stratum"] if by else [])]
    heads = [*columns, names[0], names[1], "difference"]
    rows = [heads]
    for row in known.to_dict("records"):
        cells = [
            one_line(str(row[column])) + (f" x {row['arch2']}" if column == "arch" and row["arch2"] else "")
            for column in columns
        ]
        rows.append([*cells, _format_value(row, "a"), _format_value(row, "b"), f"{row['difference']:+.4f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for side, name, other in (("a", names[0], "b"), ("b", names[1], "a")):
        alone = int((here[f"value_{side}"].notna() & here[f"value_{other}"].isna()).sum())
        lines.append(f"{alone} estimates have a value in {name} only")
    lines += [*_count_near_matches(here), *(_explain_no_overlap(here, names) if known.empty else ())]
    if by == "lesion_size":
        lines.append("Sizes are terciles of the images of each study, so the same word can mean other sizes.")
    lines.append(
        "Each interval is that of its study. The difference has no interval, because the studies may share images or models."
    )
    return "\n".join(lines) + "\n"


def _count_near_matches(here: pd.DataFrame) -> list[str]:
    """Return how many estimates of the two studies differ only in keys that are not printed."""
    shown = [key for key in JOIN_KEYS if key not in HIDDEN_KEYS]
    alone = [here[here[f"value_{one}"].notna() & here[f"value_{other}"].isna()] for one, other in ("ab", "ba")]
    pairs = alone[0][JOIN_KEYS].merge(alone[1][JOIN_KEYS], on=shown)
    count = len(pairs.drop_duplicates(shown))
    ways = {
        (key, x, y) for key in HIDDEN_KEYS for x, y in zip(pairs[f"{key}_x"], pairs[f"{key}_y"], strict=True) if x != y
    }
    differences = name_some([f"{key} {x or '-'} and {y or '-'}" for key, x, y in sorted(ways)])
    return [f"{count} pairs of these differ only in {differences}"] if count else []


def _explain_no_overlap(here: pd.DataFrame, names: tuple[str, str]) -> list[str]:
    """Return why no estimate is in both studies."""
    a, b = (here[here[f"value_{side}"].notna()] for side in "ab")
    reasons = [
        f"They have no {word} in common: {names[0]} {_format_list(a[key])}; {names[1]} {_format_list(b[key])}."
        for key, word in KEY_NOUNS.items()
        if not set(a[key]) & set(b[key])
    ]
    return reasons or ["They have no estimate in common: no metric has the same architecture and method in both."]


def _format_list(values: "pd.Series[str]") -> str:
    return name_some(sorted(set(values))) or "none"


def _format_value(row: Mapping[Any, Any], side: str) -> str:
    low, high = row[f"low_{side}"], row[f"high_{side}"]
    span = f" [{low:.4f}, {high:.4f}]" if pd.notna(low) and pd.notna(high) else ""
    return f"{row[f'value_{side}']:.4f}{span}"
