"""Read the dataset's key `groups:`: which images share a patient, where the reader does not know it.

    groups: {}                                     infer groups from the images (`Grouping`, data/grouping/)
    groups: {pattern: '(?P<patient>P\\d+)_'}       take the patient from the file name (`PatientPattern`, data/raw_files.py)

A pattern is checked when the study is read: it compiles, it has the group, and no file name can keep it busy for minutes.
"""

import re
from collections.abc import Iterable
from importlib import import_module
from math import comb, prod
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

Cue = Literal["order", "couch", "duplicates", "lungs"]
VERSION = 2  # of the algorithm: raised when another version may join other images


class Grouping(BaseModel):
    """What joins two images. The defaults are calibrated to IQ-OTH/NCCD, on its own files, and validated on no other."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    cues: list[Cue] = Field(
        default=["order", "couch", "duplicates", "lungs"],
        description="which cues join two images. order: neighbours in the numbering look alike; couch: they show the same couch; duplicates: any two "
        "images are nearly equal; lungs: their lungs are nearly equal. Identical images are always joined",
    )
    order_ncc: float = Field(
        0.93, gt=0, le=1, description="smallest correlation of neighbours at 64 px, best of small shifts"
    )
    couch: float = Field(
        0.70, gt=0, le=1, description="smallest cosine similarity of bright thin structures next to and below the body"
    )
    couch_energy: float = Field(
        2.0e6, gt=0, description="energy of these structures below which the couch is not compared"
    )
    reach: int = Field(
        3, ge=1, le=1_000_000, description="largest distance of two runs of neighbours that the couch may join"
    )
    duplicate_ncc: float = Field(0.90, gt=0, le=1, description="smallest correlation of any two images at 128 px")
    same_couch: float = Field(
        0.97, gt=0, le=1, description="smallest similarity of the couch of any two images, if also same_couch_ncc holds"
    )
    same_couch_ncc: float = Field(
        0.95, gt=0, le=1, description="smallest correlation at 64 px of any two images, if also same_couch holds"
    )
    lungs_ncc: float = Field(0.92, gt=0, le=1, description="smallest correlation of the lung boxes of any two images")
    must_links: str = Field("", description="a table (a, b, reason) of pairs of file names that a person joined")


PATIENT = "patient"  # the named group of a pattern
LONGEST_NAME = 255  # of a file, in characters
MOST_STEPS = 4 * 10**8  # of a match; measured: at most 5 s for the most unfavourable name, and microseconds for others


class PatientPattern(BaseModel):
    """The part of a file name that is the patient."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    pattern: str = Field(
        max_length=200,
        description="a Python regular expression with a group `(?P<patient>...)`. It is searched in the name of every image file, "
        "without the folder. A file that it does not match is an error",
    )

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        if isinstance(given, dict) and (others := [str(key) for key in given if key != "pattern"]):
            raise ValueError(f"the patient is in the file name (pattern), so {', '.join(others)} would not be used")
        return given

    @field_validator("pattern")
    @classmethod
    def _usable(cls, pattern: str) -> str:
        try:
            compiled = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        if PATIENT not in compiled.groupindex:
            raise ValueError(
                f"{pattern!r} has no group (?P<patient>...), so nothing in the name is the patient; "
                r"an example for names such as P12_3.png is '(?P<patient>P\d+)_'"
            )
        if _most_steps(pattern) > MOST_STEPS:
            raise ValueError(
                f"{pattern!r} may take minutes on one name; begin it with ^, and use at most three of *, + and ?, "
                "none of them inside another, and no backreference"
            )
        return pattern


def _most_steps(pattern: str) -> float:
    """Return a bound on the steps of a match in the longest file name.

    Each of k repetitions of a varying length ends at one of n positions, in order: at most comb(n + k, k) ways, times the
    ways of alternatives and optional parts. A search that may start anywhere counts as one repetition more. Where a
    repetition holds another choice, or the pattern refers back, the ways grow exponentially: infinite.
    """
    tokens = import_module("re._parser").parse(pattern)
    repetitions, ways = _choices(tokens)
    anchored = (
        bool(tokens) and str(tokens[0][0]) == "AT" and str(tokens[0][1]) in {"AT_BEGINNING", "AT_BEGINNING_STRING"}
    )
    return comb(LONGEST_NAME + repetitions + (not anchored), repetitions + (not anchored)) * ways


def _choices(tokens: Iterable[tuple[Any, Any]]) -> tuple[int, float]:
    """Return how many repetitions vary in length, and in how many other ways the tokens of a pattern can match."""
    found = [_choices_of(str(kind), value) for kind, value in tokens]
    return sum(repetitions for repetitions, _ in found), prod(ways for _, ways in found)


def _choices_of(kind: str, value: Any) -> tuple[int, float]:
    if kind in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
        least, most, inner = value
        repetitions, ways = _choices(inner)
        if (repetitions or ways > 1) and most > 1:
            return 0, float("inf")
        return (repetitions, ways * (1 + (least < most))) if most <= 1 else (int(least < most), 1.0)
    if kind in {"SUBPATTERN", "ASSERT", "ASSERT_NOT"}:
        return _choices(value[-1])
    if kind == "ATOMIC_GROUP":
        return _choices(value)
    if kind == "BRANCH":
        parts = [_choices(part) for part in value[1]]
        return max(repetitions for repetitions, _ in parts), sum(ways for _, ways in parts)
    return 0, float("inf") if kind.startswith("GROUPREF") else 1.0


def _kind_of_groups(groups: Any) -> str:
    """Return which of the two forms of `groups:` is meant; `groups: {}` infers."""
    named = isinstance(groups, PatientPattern) or (isinstance(groups, dict) and "pattern" in groups)
    return (PatientPattern if named else Grouping).__name__


GroupsKey = Annotated[
    Annotated[Grouping, Tag("Grouping")] | Annotated[PatientPattern, Tag("PatientPattern")],
    Discriminator(_kind_of_groups),
]
