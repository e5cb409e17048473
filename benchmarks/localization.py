"""Measure localization: every metric for 220 images and 20 methods at 224 px, including reading, on one core.

    OMP_NUM_THREADS=1 python benchmarks/localization.py [--images 220] [--methods 20] [--rounds 3]

Three in twenty methods have maps at the images' size, the others on grids of 7 and 14. The output also has the time of
reading alone. The goal applies to computing time, which equals wall time on an idle machine. Measured on one core of an
AMD EPYC with AVX-512: 5 s.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from gradfaith import registry
from gradfaith.config.study import PluginUse
from gradfaith.scoring import localization, score_rows
from gradfaith.storage.hdf5 import ImageStore, ImageWriter, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

SIDE, GOAL = 224, 20.0
REGIONS = ("evidence", "lungs", "body", "shortcut")


def disc(y: float, x: float, radius: float) -> np.ndarray:
    down, across = np.ogrid[:SIDE, :SIDE]
    return (down - y) ** 2 + (across - x) ** 2 <= radius**2


def write_images(path: Path, count: int) -> list[str]:
    """Write images with lesions of 0.1 to 4 % of the image, a body of half of it, and a marker in the corner."""
    draw, ids = np.random.default_rng(0), [f"image-{number:04d}" for number in range(count)]
    with ImageWriter(path, ids, REGIONS, (1, SIDE, SIDE), {}) as writer:
        for row in range(count):
            masks = {
                "evidence": disc(*draw.uniform(60, 160, 2), draw.uniform(4, 25)),
                "body": disc(112, 112, 90),
                "shortcut": disc(10, 10, 8),
            }
            writer.put(row, draw.integers(0, 255, (1, SIDE, SIDE)).astype(np.uint8), masks)
        writer.describe(mean=0.4, std=0.2, digest="benchmark")
    return ids


def write_maps(path: Path, ids: list[str], methods: int) -> None:
    draw = np.random.default_rng(1)
    table = pd.DataFrame({"image_id": ids, "target": 0, "role": "both"})
    with MapWriter(path, table, {}) as writer:
        for number in range(methods):
            side, grid = (SIDE, "input") if number % 20 >= 17 else (14 if number % 20 >= 12 else 7, "native")
            raw = draw.normal(size=(len(ids), 1, side, side)).astype(np.float32)
            writer.put(f"method-{number:02d}", MapInfo("gradcam", "", grid, True, 1), 0, raw, 1.0)


def predictions(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"image_id": ids, "group": ids, "part": "test", "label": "a", "predicted": "a", "correct": True, "seconds": 0.0}
    )


def timed(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return medians of wall time and computing time in seconds."""
    clock, computing = [], []
    for _ in range(rounds):
        started, computed = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - started)
        computing.append(time.process_time() - computed)
    return statistics.median(clock), statistics.median(computing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=220)
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    uses = {name: PluginUse(use=name) for name in registry.names("localization")}
    metrics = score_rows.load_plugins("localization", uses)
    with tempfile.TemporaryDirectory() as folder:
        ids = write_images(Path(folder) / "images.h5", asked.images)
        write_maps(Path(folder) / "maps.h5", ids, asked.methods)
        about = predictions(ids)

        def score() -> pd.DataFrame:
            with ImageStore(Path(folder) / "images.h5") as images, MapStore(Path(folder) / "maps.h5") as maps:
                tables = localization.score_localization(images, [maps], about, metrics, {"arch": "net", "seed": 0})
                return pd.concat(tables)

        def read() -> None:
            with ImageStore(Path(folder) / "images.h5") as images, MapStore(Path(folder) / "maps.h5") as maps:
                for region in ("evidence", "body", "shortcut"):
                    images.mask(region, ids)
                for label in maps.methods:
                    maps.maps(label, 0)

        count = len(score())
        whole, reading = timed(score, asked.rounds), timed(read, asked.rounds)
    pairs = asked.images * asked.methods
    print(f"{len(metrics)} metrics, {pairs} maps, {count} scores; torch imported: {'torch' in sys.modules}")
    print(f"{'':28} {'clock':>8} {'computing':>10}")
    print(f"{'all, reading included, s':28} {whole[0]:8.2f} {whole[1]:10.2f}   <= {GOAL:g} {_met(whole[1])}")
    print(f"{'reading alone, s':28} {reading[0]:8.2f} {reading[1]:10.2f}")
    print(f"{'per map, ms':28} {1e3 * whole[0] / pairs:8.2f} {1e3 * whole[1] / pairs:10.2f}")


def _met(seconds: float) -> str:
    return "met" if seconds <= GOAL else "missed"


if __name__ == "__main__":
    main()
