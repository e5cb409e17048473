"""The file that is a slot's lock: any user may take it, it is refused in words, and removing it gives the slot to no second job."""

import os
import time
from pathlib import Path

import pytest

from gradfaith.runtime import gpu_slots


def taken(path: Path) -> bool:
    lock = gpu_slots._lock(path)
    if lock is not None:
        os.close(lock)
    return lock is not None


def test_all_users_may_lock_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu_slots.LOCK_FOLDER_VARIABLE, str(tmp_path / "deep/locks"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = os.umask(0o077)
    try:
        folder = gpu_slots._lock_folder()
        assert taken(folder / "0.0")
        assert os.umask(0o077) == 0o077  # and is what it was
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert (folder / "0.0").stat().st_mode & 0o7777 == 0o666
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_is_opened_for_writing_else_for_reading_else_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ways, really = tmp_path / "0.0", list[int](), os.open

    def denied(*ways_denied: int) -> None:
        def opened(name: Path, flags: int, mode: int = 0o777) -> int:
            ways.append(flags & os.O_ACCMODE)
            if ways[-1] in ways_denied:
                raise PermissionError(13, "Permission denied")
            return really(name, flags, mode)

        ways.clear()
        monkeypatch.setattr(os, "open", opened)

    path.write_text("")
    denied()
    assert (taken(path), ways) == (True, [os.O_RDWR])  # what NFS needs
    denied(os.O_RDWR)
    assert (taken(path), ways) == (True, [os.O_RDWR, os.O_RDONLY])
    denied(os.O_RDWR, os.O_RDONLY)
    with pytest.raises(gpu_slots.DeviceMissing, match=r"lock .*0\.0 of a GPU cannot be taken: Permission denied"):
        taken(path)


def test_a_folder_without_locks_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(gpu_slots.fcntl, "flock", flock)
    with pytest.raises(gpu_slots.DeviceMissing, match="cannot be taken: Bad file descriptor"):
        taken(tmp_path / "0.0")


def test_a_lock_whose_file_was_removed_before_it_was_taken_is_not_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed between opening and locking: the next job would lock another file of that name."""
    path, really, times = tmp_path / "0.0", gpu_slots.fcntl.flock, list[int]()

    def flock(file: int, how: int) -> None:
        times.append(file)
        if len(times) == 1:
            path.unlink()
        really(file, how)

    monkeypatch.setattr(gpu_slots.fcntl, "flock", flock)
    lock = gpu_slots._lock(path)
    assert lock is not None
    assert len(times) == 2
    assert not taken(path)
    os.close(lock)


def test_a_lock_that_is_held_looks_used_and_is_made_anew_where_it_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "0.0"
    path.write_text("")
    os.utime(path, (0, 0))
    lock = gpu_slots._lock(path)
    assert lock is not None
    locks = [lock]
    assert path.stat().st_mtime > 0
    os.utime(path, (0, 0))
    gpu_slots._refresh(path, locks)
    assert (path.stat().st_mtime > 0, len(locks)) == (True, 1)
    path.unlink()
    gpu_slots._refresh(path, locks)
    assert not taken(path)
    path.unlink()
    other = gpu_slots._lock(path)  # a job that was faster
    gpu_slots._refresh(path, locks)
    assert (other is not None, len(locks)) == (True, 2)
    for file in (*locks, *([other] if other else [])):
        os.close(file)


def test_a_job_keeps_its_lock_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu_slots.LOCK_FOLDER_VARIABLE, str(tmp_path / "locks"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(gpu_slots, "TOUCH_SECONDS", 0.05)
    monkeypatch.setattr(gpu_slots, "_held_by_process", {})
    monkeypatch.setenv(gpu_slots.VISIBLE_DEVICES, "0")
    gpu_slots.take_slot(["0"])
    (path,) = (tmp_path / "locks").iterdir()
    os.utime(path, (0, 0))
    end = time.monotonic() + 30
    while path.stat().st_mtime == 0:
        assert time.monotonic() < end, "nobody touched it"
        time.sleep(0.02)
