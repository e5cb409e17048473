"""Which copy a folder holds is said from hashes alone; the list of the release agrees with itself and with the pack it is from."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from gradfaith.data.fetch.release import match_release, read_release_list
from gradfaith.errors import BrokenTable

LISTED = {f"{n}.jpg": (f"{n:064x}", f"{n + 100:064x}") for n in range(4)}
RELEASE = {name: hashes[0] for name, hashes in LISTED.items()}
COMPACT = {name: hashes[1] for name, hashes in LISTED.items()}
OTHER = "f" * 64


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = "".join(f"{name}\t{release}\t{compact}\n" for name, (release, compact) in LISTED.items())
    path = tmp_path / "files.tsv"
    path.write_text(f"# where it is from\nname\tsha256\tcompact_sha256\n{rows}")
    return path


def without(names: dict[str, str], *gone: str) -> dict[str, str]:
    return {name: value for name, value in names.items() if name not in gone}


@pytest.mark.parametrize(
    ("names", "kind", "matching"),
    [
        (RELEASE, "release", 4),
        (COMPACT, "known compact copy", 4),
        (RELEASE | {"readme.txt": OTHER}, "release", 4),
        (without(RELEASE, "0.jpg"), "subset of the release", 3),
        (without(COMPACT, "0.jpg", "3.jpg"), "subset of the known compact copy", 2),
        (RELEASE | {"more.PNG": OTHER}, "unknown copy", 4),
        (RELEASE | {"0.jpg": OTHER}, "unknown copy", 3),
        (RELEASE | {"0.jpg": COMPACT["0.jpg"]}, "unknown copy", 3),
        (RELEASE | {"0.jpg": RELEASE["1.jpg"]}, "unknown copy", 3),
        (dict.fromkeys(RELEASE, OTHER), "unknown copy", 0),
        ({}, "unknown copy", 0),
        ({"readme.txt": OTHER}, "unknown copy", 0),
    ],
)
def test_the_kind_of_copy(table: Path, names: dict[str, str], kind: str, matching: int) -> None:
    found = match_release(names, table)
    assert (found.kind, found.matching) == (kind, matching)


def test_the_differences_are_named_and_the_text_counts_them(table: Path) -> None:
    found = match_release(without(RELEASE, "3.jpg") | {"0.jpg": OTHER, "b.png": OTHER, "a.dcm": OTHER}, table)
    assert (found.differing, found.missing, found.foreign) == (("0.jpg",), ("3.jpg",), ("a.dcm", "b.png"))
    assert found.text == (
        "unknown copy: 2 files as listed, 1 in the list with another hash (0.jpg), 1 of the list missing (3.jpg), "
        "2 images in no list (a.dcm, b.png)"
    )


def test_a_long_difference_is_shortened_in_the_text_only(table: Path) -> None:
    found = match_release({**RELEASE, **{f"x{n}.png": OTHER for n in range(9)}}, table)
    assert len(found.foreign) == 9
    assert found.text.endswith("9 images in no list (x0.png, x1.png, x2.png, ...)")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "missing"),
        (b"name\tsha256\n", "first line"),
        (b"name\tsha256\tcompact_sha256\na\tb\n", "2 columns"),
        (b"name\tsha256\tcompact_sha256\na\tb\tc\na\td\te\n", "twice"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(BrokenTable) as refused:
        match_release(RELEASE, tmp_path / "t.tsv")
    assert said in refused.value.problem
    assert "t.tsv" in refused.value.problem


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenTable):
        match_release(RELEASE, tmp_path / "none.tsv")


def test_the_list_of_the_release_is_what_the_audit_counted(root: Path) -> None:
    """1097 files: 120 benign, 561 malignant, 416 normal; 43 pairs of equal bytes, none in threes, none across classes."""
    listed = read_release_list(root / "resources/iqothnccd/files.tsv")
    assert Counter(name.partition(" ")[0] for name in listed) == {"Bengin": 120, "Malignant": 561, "Normal": 416}
    assert all(len(value) == 64 and set(value) <= set("0123456789abcdef") for both in listed.values() for value in both)
    same: dict[str, set[str]] = {}
    for name, (sha256, _) in listed.items():
        same.setdefault(sha256, set()).add(name)
    pairs = [names for names in same.values() if len(names) > 1]
    assert len(pairs) == 43
    assert all(len(names) == 2 and len({name.partition(" ")[0] for name in names}) == 1 for names in pairs)


def test_the_list_is_the_one_the_audit_pinned(root: Path) -> None:
    """As `sha256sum` lists the folders benign, malignant and normal, in the order of their names."""
    folder = {"Bengin": "benign", "Malignant": "malignant", "Normal": "normal"}
    listed = read_release_list(root / "resources/iqothnccd/files.tsv")
    paths = sorted((f"./{folder[name.partition(' ')[0]]}/{name}", sha256) for name, (sha256, _) in listed.items())
    listing = "".join(f"{sha256}  {path}\n" for path, sha256 in paths).encode()
    assert hashlib.sha256(listing).hexdigest() == "d9070a57c5d2135abc728e052da86f784811f3b7c47467ae593ac4472c1fef01"


def test_the_list_agrees_with_the_packs_manifest_and_files(root: Path) -> None:
    pack = root.parent / "shared/data/iqothnccd"
    if not (pack / "manifest.csv").is_file():
        pytest.skip("the data pack is not here")
    with (pack / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = read_release_list(root / "resources/iqothnccd/files.tsv")
    assert listed == {Path(row["file"]).name: (row["orig_sha256"], row["sha256"]) for row in rows}
    some = {Path(row["file"]).name: hashlib.sha256((pack / row["file"]).read_bytes()).hexdigest() for row in rows[::50]}
    assert match_release(some, root / "resources/iqothnccd/files.tsv").kind == "subset of the known compact copy"
