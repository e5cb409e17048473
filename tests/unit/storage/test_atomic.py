"""Files are whole or not there: an exception, a full disk and a reader in between never see half of one."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradfaith.errors import CannotWrite
from gradfaith.storage.atomic import check_writable, replacing, replacing_folder, write_text


def test_a_text_is_written_and_its_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "whole\n")
    assert (tmp_path / "a" / "b.txt").read_text() == "whole\n"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
        assert draft.parent == path.parent  # a rename across disks would not be atomic
    assert path.read_text() == "new"


def test_an_exception_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as draft:
        draft.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one"  # renamed last
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_is_refused_in_three_parts_and_nothing_is_left(full) -> None:
    folder, limit = full
    with limit(), pytest.raises(CannotWrite) as refusal:
        write_text(folder / "a.txt", "x" * 400_000)
    assert str(folder / "a.txt") in refusal.value.problem
    assert refusal.value.reason
    assert "keep:" in refusal.value.fix
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp") or name == "a.txt"]


def test_another_fault_of_the_system_keeps_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "a") as draft:
        draft.mkdir()
        draft.rmdir()
        raise IsADirectoryError("said so")


def test_fetched_weights_meet_a_full_disk_in_order(full, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network cannot be asked in a test: random weights stand in for what it sends."""
    from gradfaith.models import weight_file

    folder, limit = full
    real = weight_file.timm.create_model
    monkeypatch.setattr(weight_file.timm, "create_model", lambda name, **_: real(name))
    with limit(), pytest.raises(CannotWrite):
        weight_file.fetch_pretrained("test_resnet.r160_in1k", folder / "w.safetensors", folder / "w.json")
    assert not [name for name in os.listdir(folder) if "safetensors" in name]


def test_a_folder_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep/a"
    for name in ("one", "two"):
        with replacing_folder(path) as draft:
            (draft / name).write_text(name)
            assert not (path / name).exists()
    assert os.listdir(path) == ["two"]
    assert os.listdir(path.parent) == ["a"]


def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing_folder(path) as draft:
        (draft / "old").write_text("whole")
    with pytest.raises(ZeroDivisionError), replacing_folder(path) as draft:
        (draft / "half").write_text("half")
        _ = 1 / 0
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(path) == ["old"]


def test_a_folder_that_cannot_be_put_in_place_is_refused_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.mkdir()
    rename = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(CannotWrite, match="No space left"), replacing_folder(path):
        pass
    assert os.listdir(tmp_path) == ["a"]
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="could not be written"), replacing_folder(tmp_path / "file/b"):
        pass


def test_a_read_only_folder_is_named_before_anything_is_written(
    tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    check_writable([folder, folder / "deep/er", tmp_path])
    read_only(folder)
    for path in (folder / "a.txt", folder / "deep/er/a.txt"):
        with pytest.raises(CannotWrite) as refusal:
            write_text(path, "text")
        assert refusal.value.problem.startswith(f"{path.parent} cannot be written to: {folder} ")
        assert refusal.value.fix.startswith(f"Make {folder} writable")
    check_writable([tmp_path])
    with pytest.raises(CannotWrite):
        check_writable([tmp_path, folder])


@contextmanager
def unprivileged() -> Iterator[None]:
    """As the user "nobody", whom permissions stop; root comes back afterwards."""
    if os.geteuid():
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_permissions_that_forbid_writing_are_shown() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with unprivileged(), pytest.raises(CannotWrite) as refusal:
            write_text(folder / "a.txt", "text")
        assert f"(dr-xr-xr-x, owner {os.geteuid()}) does not let user " in refusal.value.problem
        folder.chmod(0o755)


def test_a_file_in_the_place_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(CannotWrite, match=r"results is not a folder\."):
        write_text(tmp_path / "results/tiny/a.txt", "text")


def test_weights_are_not_downloaded_for_a_folder_that_cannot_take_them(
    tmp_path: Path, read_only: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradfaith.models import weight_file

    asked: list[str] = []
    monkeypatch.setattr(weight_file.timm, "create_model", lambda name, **_: asked.append(name))
    (tmp_path / "resources").mkdir()
    read_only(tmp_path / "resources")
    path = tmp_path / "resources/weights/w.safetensors"
    with pytest.raises(CannotWrite, match="resources/weights cannot be written to"):
        weight_file.fetch_pretrained("test_resnet.r160_in1k", path, path.with_suffix(".json"))
    assert asked == []
