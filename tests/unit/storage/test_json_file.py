"""A JSON file comes back as it went, and no flipped bit passes."""

from pathlib import Path

import numpy as np
import pytest

from gradfaith.errors import BrokenDocument
from gradfaith.storage import json_file

CONTENT = {
    "spec": {"mean": 0.25, "layers": [1, 2, 3]},
    "by size": {number: number / 3 for number in range(12)},
    "n": float("nan"),
}


def test_an_object_comes_back_whatever_its_layout(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    json_file.write(path, CONTENT)
    back = json_file.read(path)
    assert back["by size"]["11"] == 11 / 3
    assert back.keys() == CONTENT.keys()
    json_file.write(path, back, sort_keys=True)
    path.write_text(path.read_text().replace("\n", " "))
    assert json_file.read(path).keys() == back.keys()


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", "3", "null", '{"content_sha256": "0"}', "[" * 100_000, "\x00"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BrokenDocument, match=r"a\.json"):
        json_file.read(tmp_path / "a.json")
    with pytest.raises(BrokenDocument, match="cannot be read"):
        json_file.read(tmp_path / "b.json")


def test_no_flipped_bit_passes(tmp_path: Path) -> None:
    path, draw = tmp_path / "a.json", np.random.default_rng(2026)
    json_file.write(path, CONTENT)
    whole, before = path.read_bytes(), str(json_file.read(path))
    for _ in range(600):
        content = bytearray(whole)
        content[draw.integers(len(content))] ^= 1 << draw.integers(8)
        path.write_bytes(content)
        try:
            assert str(json_file.read(path)) == before, "only blanks may change without an error"
        except BrokenDocument:
            continue
