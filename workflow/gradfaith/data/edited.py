"""Whether someone changed a fetched file since it came: what Snakemake cannot see, as the files are no inputs of its own.

The record of a fetch holds every file's size and hash. While sizes and times agree nothing is hashed; a file that is newer
than the record is hashed, so that a touch makes nothing stale and an edit does.
"""

import hashlib
import json
from pathlib import Path


def edited(raw: str | None, record: str) -> str:
    """A digest of what differs from the record; empty where nothing does, and before there is one."""
    if raw is None or not Path(record).is_file():
        return ""
    names, since = json.loads(Path(record).read_text(encoding="utf-8"))["names"], Path(record).stat().st_mtime
    files = {path.relative_to(raw).as_posix(): path for path in sorted(Path(raw).rglob("*")) if path.is_file()}
    lines = [f"{name} is gone" for name in names if name not in files]
    for name, path in files.items():
        size, sha256 = names.get(name, (-1, ""))
        about = path.stat()
        same = about.st_size == size and (
            about.st_mtime <= since or hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        )
        if not same:
            lines.append(f"{name} {about.st_size} {about.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] if lines else ""
