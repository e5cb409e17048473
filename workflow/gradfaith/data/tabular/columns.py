"""Define a source of tables, and read what its columns are: numbers, categories, or, with the reason, no column for a model.

    constant        one value only
    identifier      a text or whole number that differs in every row, so it names rows instead of describing them
    target copy     every value belongs to one value of the target: a model would only read it off
    mixed           a few values of a column of numbers are no numbers: they count as missing
    missing         numbers take the column's median, texts become the category "missing"
    rare            from the 20th most frequent category on, categories become "other"

A source is one file in this folder, and its stem is its name: it has `TABLE = TableSource(limits=...)` and a function
`read(*, <options>)`, which returns a `SourceTable`. `keep` names columns that stay in spite of that. Categories become whole
numbers in the order of their frequency, so a table is one matrix of numbers; each model encodes them itself. Regression has
the quarters of its target as classes: the split is balanced over them, and the classification table reads them. Equal rows
have one hash, so no split divides them. The audit names every column that models may not see. Cost: one pass per column.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.errors import DatasetInvalid, name_some
from gradfaith.vocabulary import BINARY, QUARTERS, Task

MAX_CATEGORIES, MISSING, OTHER = 20, "missing", "other"
NUMBERS_SHARE = 0.9  # of a column's values that must be numbers, if the others are to count as missing
FEWEST_ROWS = 20  # below that, a column that differs in every row is no sign of an identifier
ROW_TARGET, FEATURE, TRUTH = "target", "x:", "t:"  # columns of a stored table
OWN_ROW, STATED = "row", "group"  # kinds of a group: a single row, or a column of the table
SHOWN = 10  # names that the audit lists
KEPT, COPY = "kept although ", "target copy"
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class TableSource:
    """The declaration of a source of tables.

    `limits`: conditions on its options; `sources`: where rule `fetch` gets its files, tried in this order; none: there is no
    such rule. `rows`: of a published table, so that its study can be planned before the files are there.
    """

    limits: tuple[str, ...] = ()
    rows: int | None = None
    sources: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class SourceTable:
    """What a source of tables returns: features as they are, the target, groups, and how much each feature counts.

    `truth`: by row and feature, the feature's exact share of the planted function; None where it is not known.
    """

    features: pd.DataFrame
    target: pd.Series
    group: pd.Series | None = None
    truth: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)  # file -> SHA-256


@dataclass(frozen=True)
class TableColumn:
    """What was found in one column."""

    name: str
    kind: Literal["number", "category"]
    used: bool
    finding: str = ""  # constant, identifier, target copy; or what was changed in a column that is used
    missing: int = 0
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodedTable:
    """A table as numbers, with its columns, its target and its classes."""

    rows: pd.DataFrame  # row, target, x:<feature>, t:<feature>
    columns: tuple[TableColumn, ...]
    task: Task
    positive: str  # the value of the target that is the positive class; "" for a regression
    label: pd.Series
    notes: tuple[str, ...]

    @property
    def features(self) -> list[TableColumn]:
        """Return the columns that models see, in the order of the matrix."""
        return [column for column in self.columns if column.used]

    def content(self) -> dict[str, Any]:
        """Return what is known of the columns as plain values."""
        return {
            "task": self.task,
            "positive": self.positive,
            "columns": [asdict(column) for column in self.columns],
            "notes": list(self.notes),
        }


def encode_table(source: SourceTable, task: Task, positive: str = "", keep: Collection[str] = ()) -> EncodedTable:
    """Return a table as numbers. `positive`: the class that is explained; `keep`: columns that stay whatever is found."""
    known = source.target.notna().to_numpy()
    lost = int((~known).sum())
    features, target = source.features[known].reset_index(drop=True), source.target[known].reset_index(drop=True)
    if unknown := [name for name in keep if name not in features]:
        raise DatasetInvalid(
            problem=f"table.keep: there is no column {name_some(unknown)}; the table has {name_some(list(features))}.",
            reason="`keep` names columns that stay although they look like an identifier or like the target.",
            fix="Correct the names.",
        )
    value, label, chosen = _read_target(target, task, positive)
    columns, coded = [], {}
    for name in features:
        column, codes = _read_column(str(name), features[name], target, keep=str(name) in keep)
        columns.append(column)
        if column.used:
            coded[FEATURE + str(name)] = codes
    if not coded:
        raise DatasetInvalid(
            problem=f"no column is left to explain: {'; '.join(f'{one.name}: {one.finding}' for one in columns)}.",
            reason="Constant columns, identifiers and copies of the target explain nothing.",
            fix="Add columns, or name the columns to keep in `table: {keep: [...]}`.",
        )
    rows = pd.DataFrame(
        {"image_id": [f"row-{number:06d}" for number in np.flatnonzero(known)], ROW_TARGET: value, **coded}
    )
    if source.truth is not None:
        truth = source.truth[known].reset_index(drop=True)
        rows = rows.assign(**{TRUTH + str(name): truth[name] for name in truth if FEATURE + str(name) in coded})
    notes = (*source.notes, *([f"{lost} rows without a target are left out"] if lost else []))
    return EncodedTable(rows, tuple(columns), task, chosen, label, notes)


def _read_target(target: pd.Series, task: Task, positive: str) -> tuple[Matrix, pd.Series, str]:
    """Return the target as numbers, the class of every row, and the value that is the positive class; "" for a regression."""
    names = target.astype(str)
    levels = sorted(names.unique())
    if len(levels) < 2:
        raise DatasetInvalid(
            problem=f"the target has one value only: {', '.join(levels) or 'none'}.",
            reason="There is nothing to predict.",
            fix="Name another column as `target`.",
        )
    if task == "regression":
        number = pd.to_numeric(target, errors="coerce")
        if strange := sorted(set(names[number.isna()])):
            raise DatasetInvalid(
                problem=f"the target has values that are no numbers: {name_some(strange)}.",
                reason="A regression predicts a number.",
                fix="Correct these values, or set `table: {task: classification}`.",
            )
        place = pd.qcut(number.rank(method="first"), len(QUARTERS), labels=False)
        return number.to_numpy(np.float64), pd.Series(np.array(QUARTERS)[place.to_numpy(np.int64)]), ""
    if positive not in levels and (positive or len(levels) > 2):
        raise DatasetInvalid(
            problem=f'the target has {len(levels)} values ({name_some(levels)}), and table.positive is "{positive}".',
            reason="An attribution explains one score: one class against all others, or a number.",
            fix="Set `table: {positive: ...}` to one of the values, or `table: {task: regression}` if they are numbers.",
        )
    chosen = positive or levels[1]
    found = (names == chosen).to_numpy()
    return found.astype(np.float64), pd.Series(np.array(BINARY)[found.astype(np.int64)]), chosen


def _read_column(name: str, values: pd.Series, target: pd.Series, *, keep: bool) -> tuple[TableColumn, Matrix]:
    """Return what a column is, and its values as numbers."""
    present = values.dropna()
    missing = int(values.isna().sum())
    number = pd.to_numeric(present, errors="coerce")
    kind: Literal["number", "category"] = (
        "number" if len(present) and number.notna().mean() >= NUMBERS_SHARE else "category"
    )
    fault = _fault(present, target[present.index], kind)
    notes = [KEPT + fault] if keep and fault else []
    fault = "" if keep else fault
    if kind == "number":
        strange = sorted(set(present[number.isna()].astype(str)))
        missing += int(number.isna().sum())
        notes += [f"mixed types: {name_some(strange)} counted as missing"] if strange else []
        codes = number.reindex(values.index).to_numpy(np.float64)
        notes += [f"{missing} missing values set to the median"] if missing else []
        codes = np.where(np.isnan(codes), np.nanmedian(codes) if len(number.dropna()) else 0.0, codes)
        return TableColumn(name, kind, not fault, fault or "; ".join(notes), missing), codes
    texts = values.astype(object).where(values.notna(), MISSING).astype(str)
    if texts.map(_is_number).any() and len(present):
        notes.append("mixed types: numbers and texts, read as categories")
    levels = list(texts.value_counts().index)
    if len(levels) > MAX_CATEGORIES:
        notes.append(f"{len(levels) - MAX_CATEGORIES + 1} rare categories joined")
        texts = texts.where(texts.isin(levels[: MAX_CATEGORIES - 1]), OTHER)
        levels = list(dict.fromkeys([*levels[: MAX_CATEGORIES - 1], OTHER]))
    notes += [f'{missing} missing values are the category "{MISSING}"'] if missing else []
    coded = texts.map({level: place for place, level in enumerate(levels)}).to_numpy(np.float64)
    return TableColumn(name, kind, not fault, fault or "; ".join(notes), missing, tuple(levels)), coded


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fault(present: pd.Series, target: pd.Series, kind: str) -> str:
    """Return why no model may see a column; "" if it may."""
    distinct = present.nunique()
    if distinct < 2:
        return "constant"
    whole = kind == "category" or bool((pd.to_numeric(present, errors="coerce").dropna() % 1 == 0).all())
    if distinct == len(present) >= FEWEST_ROWS and whole:
        return "identifier: differs in every row"
    if kind == "category" and distinct > len(present) / 2 >= FEWEST_ROWS:
        return f"identifier: {distinct} different texts in {len(present)} rows"
    pairs = pd.DataFrame({"value": present.astype(str), "target": target.astype(str)})
    determined = bool((pairs.groupby("value")["target"].nunique() == 1).all())
    repeated = distinct <= max(len(present) // 4, target.nunique())
    if determined and repeated and target.nunique() > 1 and pairs["value"].nunique() >= 2:
        return f"{COPY}: each of its values belongs to one value of the target"
    numbers = [pd.to_numeric(one, errors="coerce") for one in (present, target)]
    if all(one.notna().all() for one in numbers) and target.nunique() > 2:
        centred = [one.to_numpy(np.float64) - one.mean() for one in numbers]
        scale = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
        if scale > 0 and abs(float((centred[0] * centred[1]).sum())) / scale > 1 - 1e-9:
            return f"{COPY}: a straight line from the target"
    return ""


def make_manifest(table: EncodedTable, source: SourceTable) -> pd.DataFrame:
    """Return the manifest of a table: one row per row; equal rows have the same hash, so no split divides them."""
    file, sha256 = next(iter(source.files.items()), ("", ""))
    hashes = pd.util.hash_pandas_object(table.rows.filter(regex=f"^{FEATURE}"), index=False).astype(str)
    ids = table.rows["image_id"]
    places = ids.str.removeprefix("row-").astype(int)
    groups = ids if source.group is None else source.group.astype(str).iloc[places].to_numpy()
    nothing = {
        "lesion_px": 0,
        "lesion_share": 0.0,
        "width": 0,
        "height": 0,
        "bytes": 0,
        "lesions": 0,
        "lesion_mm": float("nan"),
    }
    texts = ("lesion_kind", "lesion_density", "lesion_outline", "lesion_calcification", "lesion_contact", "reason")
    return pd.DataFrame(
        {
            "image_id": ids, "file": file, "sha256": sha256, "pixel_hash": hashes, "label": table.label, "group": groups,
            "group_kind": OWN_ROW if source.group is None else STATED, "evidence": "none", "status": "ok",
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


def table_caution(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the warning for every figure and table: rows on both sides of the split, or a kept copy of the target."""
    copies = [name for name, finding in audit["changed"].items() if finding.startswith(KEPT + COPY)]
    across = audit["duplicates_across_the_split"]["rows"] + audit["groups_across_the_split"]
    caution = f"TARGET COPY KEPT ({', '.join(copies)}): models read the answer off this column." if copies else ""
    caution += " LEAKY SPLIT: equal rows or rows of one group are in several parts." if across else ""
    return {"leaky": bool(copies) or bool(across), "caution": caution.strip()}
