"""When a process began, in a word: with its number, it names a process of this machine for good.

Not by the wall clock, which is set now and then: on Linux in ticks since the machine started, elsewhere as the system says it.
"""

from pathlib import Path

import psutil

FIELD = 19  # of /proc/<pid>/stat after the name, which may hold spaces: the start


def began(pid: int) -> str:
    """Empty, where there is no such process."""
    try:
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[FIELD]
        return str(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return ""
