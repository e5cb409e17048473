"""Write and read JSON files with a checksum: `content_sha256` is the digest of all other keys.

A flipped bit in a JSON file mostly gives another number, not a syntax error. The digest covers the content and not
the text, so a file may be reformatted.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradfaith.errors import BrokenDocument
from gradfaith.storage.atomic import write_text
from gradfaith.storage.identity import advise_replacement

DIGEST_KEY = "content_sha256"


def write(path: Path | str, content: Mapping[str, Any], *, sort_keys: bool = False) -> None:
    """Write an object with its digest, complete or not at all."""
    plain = json.loads(json.dumps(content))  # as it will be read: keys become texts, tuples become lists
    write_text(path, json.dumps({**plain, DIGEST_KEY: _digest(plain)}, indent=2, sort_keys=sort_keys) + "\n")


def read(path: Path | str) -> dict[str, Any]:
    """Read an object, without its digest, and check the digest."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        expected = content.pop(DIGEST_KEY)
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise _broken(path, f"has no {DIGEST_KEY}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path, f"is not a JSON object ({error})") from error
    if expected != _digest(content):
        raise _broken(path, "was changed after it was written: its digest differs")
    found: dict[str, Any] = content
    return found


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an object, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _broken(path: Path | str, problem: str) -> BrokenDocument:
    return BrokenDocument(
        problem=f"{path} {problem}.",
        reason="The file was truncated, edited, or written by another version.",
        fix=advise_replacement(path),
    )
