"""Write and read JSON files with a checksum: `content_sha256` is the digest of all other keys.

A file that is made from tables also has its identity and its format, as tables have.

A flipped bit in a JSON file mostly gives another number, not a syntax error. The digest covers the content and not
the text, so a file may be reformatted.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gradfaith.errors import BrokenDocument
from gradfaith.storage.atomic import write_text
from gradfaith.storage.identity import Identity, advise_replacement

DIGEST_KEY, FORMAT_KEY, IDENTITY_KEY = "content_sha256", "format", "identity"


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


def write_identified(
    path: Path | str, content: Mapping[str, Any], made_from: Mapping[str, str], *, version: int
) -> None:
    """Write an object with its format's version and its identity; `made_from`: path -> digest of its input files."""
    identity = replace(Identity.of_place(path), made_from=dict(made_from))
    write(path, {FORMAT_KEY: version, IDENTITY_KEY: asdict(identity), **content})


def read_identity(path: Path | str) -> tuple[Identity, str]:
    """Return the identity of a file that `write_identified` wrote, and the digest of its content."""
    content = read(path)
    try:
        return Identity(**content[IDENTITY_KEY]), _digest(content)
    except (LookupError, TypeError) as error:
        raise _broken(path, f"has no {IDENTITY_KEY}") from error


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an object, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _broken(path: Path | str, problem: str) -> BrokenDocument:
    return BrokenDocument(
        problem=f"{path} {problem}.",
        reason="The file was truncated, edited, or written by another version.",
        fix=advise_replacement(path),
    )
