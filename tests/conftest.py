"""What several tests stand on: a tiny store of images, predictions with known mistakes, a small network, a disk that is full."""

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from small_images import CLASSES, ROOT, SIDE


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell's background jobs ignore Ctrl-C, `nohup` ignores the terminal's end, and so does all that they start."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def keep_freed_memory() -> None:
    """As jobs do: it makes passes faster and changes no number."""
    from gradfaith.runtime import device

    device.keep_freed_memory()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def tiny() -> dict[str, Any]:
    """The document of a study of seconds, to be changed at will."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    return document


@pytest.fixture(scope="session")
def predictions() -> pd.DataFrame:
    """24 images of 8 groups; every fifth is mistaken for the next class."""
    rows = [(f"image-{n:02d}", f"group-{n // 3}", CLASSES[n // 3 % 3]) for n in range(24)]
    frame = pd.DataFrame(rows, columns=["image_id", "group", "label"])
    wrong = np.arange(24) % 5 == 4
    following = frame["label"].map(dict(zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True)))
    frame["predicted"] = np.where(wrong, following, frame["label"])
    part = np.array(["train", "test", "val", "test"])[np.arange(24) // 6]
    return frame.assign(correct=~wrong, part=part, seconds=0.01)


@pytest.fixture(scope="session")
def images_file(tmp_path_factory: pytest.TempPathFactory, predictions: pd.DataFrame) -> Path:
    """images.h5 for the predictions: noise, and a bright square that is the evidence in all but the normal ones."""
    from gradfaith.storage.hdf5 import ImageWriter

    path, draw = tmp_path_factory.mktemp("images") / "images.h5", np.random.default_rng(5)
    with ImageWriter(path, list(predictions["image_id"]), ["evidence"], (1, SIDE, SIDE), {"size": SIDE}) as writer:
        for row, label in enumerate(predictions["label"]):
            mask = np.zeros((SIDE, SIDE), dtype=bool)
            top, left = draw.integers(2, SIDE - 12, 2)
            mask[top : top + 8, left : left + 8] = label != "normal"
            pixels = draw.integers(0, 100, (SIDE, SIDE)) + 120 * mask
            writer.put(row, pixels.astype(np.uint8)[None], {"evidence": mask} if mask.any() else {})
        writer.describe(mean=0.3, std=0.2, digest="d1")
    return path


@pytest.fixture(scope="session")
def classifier() -> Any:
    """A small timm network of random weights: the plumbing around it is what is tested."""
    from gradfaith.models.classifier import ClassifierSpec, build_classifier

    spec = ClassifierSpec("test_resnet.r160_in1k", 3, 1, 1, SIDE, 0.3, 0.2, {"output_stride": 8})
    return build_classifier(spec, seed=3).eval()


@pytest.fixture(params=["disk", "file size"])
def full(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Path, Callable[[], AbstractContextManager[None]]]]:
    """A folder that takes 96 KiB, and the block in which that holds: a small disk where one can be mounted, a limit elsewhere."""
    if request.param == "file size":
        yield tmp_path, _limited
        return
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no small disk can be mounted here; the file size limit stands in for it")
    try:
        yield disk, _unlimited
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """A function that makes a folder read-only, by its mount where permissions stop nobody, until the test has ended."""
    opened: list[Callable[[], object]] = []
    mount, umount = shutil.which("mount"), shutil.which("umount")  # a test may change PATH

    def close(folder: Path) -> None:
        if os.geteuid():
            mode = folder.stat().st_mode
            folder.chmod(0o555)
            opened.append(lambda: folder.chmod(mode))
            return
        for options in (["--bind", folder], ["-o", "remount,bind,ro"]):
            if not mount or subprocess.run([mount, *options, folder], capture_output=True, check=False).returncode:
                pytest.skip("root may write everywhere, and no folder can be mounted read-only here")
            if options[0] == "--bind":
                opened.append(lambda: subprocess.run([str(umount), "-l", folder], check=True))

    yield close
    for one in reversed(opened):
        one()


@contextmanager
def _limited() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (96 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _unlimited() -> Iterator[None]:
    yield
