"""Write and read JSON files that say themselves whether they are whole: `content_sha256` is the digest of all other keys.

A flipped bit in a JSON file is mostly another number, and no error of its syntax. The digest is over the content and not
over the text, so a file may be laid out anew.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradfaith.errors import BrokenDocument
from gradfaith.storage.atomic import write_text

DIGEST_KEY = "content_sha256"


def write(path: Path | str, content: Mapping[str, Any], *, sort_keys: bool = False) -> None:
    """Write an object with its digest, complete or not at all."""
    plain = json.loads(json.dumps(content))  # as it will be read: keys are texts, tuples are lists
    write_text(path, json.dumps({**plain, DIGEST_KEY: _digest(plain)}, indent=2, sort_keys=sort_keys) + "\n")


def read(path: Path | str) -> dict[str, Any]:
    """Read an object, without its digest, and check that it is as it was written."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        expected = content.pop(DIGEST_KEY)
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise _broken(path, f"has no {DIGEST_KEY}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path, f"is no JSON object ({error})") from error
    if expected != _digest(content):
        raise _broken(path, "is not as it was written: its digest differs")
    found: dict[str, Any] = content
    return found


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _broken(path: Path | str, problem: str) -> BrokenDocument:
    return BrokenDocument(
        problem=f"{path} {problem}.",
        reason="It was cut, edited, or made by another version.",
        fix=f"Delete {path} and run again: only what is missing is computed.",
    )
