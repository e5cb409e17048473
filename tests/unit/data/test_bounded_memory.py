"""A folder of 20 000 slices: indexed, packed and grouped within 1.5 GiB, each step in a process of its own."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bounded")]  # the folder is made once

MANY, MOST = 20_000, 1536  # slices, MiB
START = """
import resource, sys, time
from pathlib import Path
from gradfaith.data.grouping import infer
from gradfaith.data import manifest
from gradfaith.data import fit
from gradfaith.data import pack
from gradfaith.config.grouping import Grouping
from gradfaith.data.readers import folder
raw, start = Path(sys.argv[1]), time.time()
"""
END = "\nprint(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.time() - start)\n"
ALONE = "options = folder.Options(one_image_per_patient=True)\n"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of 512 x 512 from one texture, in two classes."""
    place, draw = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    texture = draw.integers(0, 255, (700, 700), dtype=np.uint8)
    for number in range(MANY):
        path = place / "ab"[number % 2] / f"{number:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        y, x = draw.integers(0, 188, 2)
        Image.fromarray(texture[y : y + 512, x : x + 512]).save(path, quality=30)
    return place


@pytest.mark.parametrize(
    ("step", "work"),
    [
        ("indexed", ALONE + "found = manifest.build_manifest(folder, raw, options, ['a', 'b'], threads=2)"),
        (
            "packed",
            ALONE
            + "import pandas as pd\n"
            + "found = pd.DataFrame({'image_id': [record.image_id for record in folder.index(raw, options)], 'part': 'train'})\n"
            + "asked = dict(size=224, fit='pad', channels=1, harmonise=fit.Harmoniser(), threads=2)\n"
            + "pack.pack_images(sys.argv[2], found, folder, raw, options, **asked)",
        ),
        (
            "grouped",
            "options = folder.Options()\n"
            "found = infer.group_dataset(folder, raw, options, Grouping(), threads=2).groups",
        ),
    ],
)
def test_memory_is_bounded(raw: Path, tmp_path: Path, step: str, work: str) -> None:
    command = [sys.executable, "-c", START + work + END, raw, tmp_path / "images.h5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    many, mebibytes, seconds = map(float, done.stdout.split())
    said = f"{step} {many / seconds:.0f} images per second, peak {mebibytes:.0f} MiB"
    assert many == MANY
    assert mebibytes < MOST, said
    warnings.warn(said, stacklevel=1)  # shown in the summary
