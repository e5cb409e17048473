"""Scoring jobs read some images at a time: neither memory nor a single read grows with the study."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn

from gradfaith.config.job_settings import CompositePart, CompositeSettings
from gradfaith.config.study import PluginUse
from gradfaith.metrics.contract import RerunBatch
from gradfaith.scoring import agreement, composite, faithfulness, localization, score_rows
from gradfaith.scoring.across_architectures import score_across_architectures
from gradfaith.storage import atomic, parquet
from gradfaith.storage.hdf5 import ImageStore, ImageWriter, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

SIDE, METHODS, COPIES, FEW, MANY, CHUNK = 32, 2, 5, 128, 384, 32
MOST_AT_ONCE = 128  # images or maps
LABELS = [f"method-{number}" for number in range(METHODS)]


class Watched:
    """Notes the most rows that a store is asked for at once."""

    most = 0

    def read(self, name: str, selection: Any = slice(None)) -> Any:
        found = super().read(name, selection)  # type: ignore[misc]
        if np.ndim(found) > 1:
            self.most = max(self.most, len(found))
        return found


class WatchedImages(Watched, ImageStore):
    pass


class WatchedMaps(Watched, MapStore):
    pass


def write_study(folder: Path, count: int) -> Path:
    """`count` images of noise, and for two models the maps of some methods at the images' size; one has shuffled copies."""
    ids, draw = [f"image-{row:04d}" for row in range(count)], np.random.default_rng(0)
    pixels, masks = draw.integers(0, 255, (count, 1, SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), dtype=bool)
    masks[4:9, 5:12] = True
    folder.mkdir()
    with ImageWriter(folder / "images.h5", ids, ["evidence"], (1, SIDE, SIDE), {}) as writer:
        for row in range(count):
            writer.put(row, pixels[row], {"evidence": np.roll(masks, row % 20, axis=1)})
        writer.describe(mean=0.5, std=0.3, digest="x")
    for seed in (0, 1):
        with MapWriter(folder / f"{seed}.h5", pd.DataFrame({"image_id": ids, "target": 1, "role": "both"}), {}) as maps:
            for label, copies in [("shuffled-method-0", COPIES), *((label, 1) for label in LABELS)]:
                raw = draw.random((count, copies, SIDE, SIDE)).astype(np.float32)
                maps.put(label, MapInfo(label, "", "input", False, copies), 0, raw, 1.0)
    return folder


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    place = tmp_path_factory.mktemp("bounded")
    return {count: write_study(place / str(count), count) for count in (FEW, MANY)}


def plugins(group: str, options: dict[str, dict[str, Any]]) -> Any:
    return score_rows.load_plugins(group, {name: PluginUse(use=name, options=own) for name, own in options.items()})


class Model(nn.Module):
    """A weighted sum of the pixels per class; counts its images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.seen = nn.Linear(SIDE * SIDE, 2), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return self.linear(images.flatten(1))


def explain(batch: RerunBatch) -> dict[Any, torch.Tensor]:
    """Every method's map is the image it is asked about."""
    return {name: batch.images[rows, 0] for name, rows in batch.wanted.items()}


BATTERIES: dict[str, dict[str, dict[str, Any]]] = {
    "masking": {"faith": {}, "average_drop": {}},
    "ranking": {
        "deletion": {"steps": 2},
        "region_correctness": {"decoys": 2},
        "faithfulness_correlation": {"subsets": 3},
    },
    "rerun": {"coherency": {}, "max_sensitivity": {"draws": 2}},
}


def faithful(
    images: ImageStore, maps: list[MapStore], predictions: pd.DataFrame, battery: str, chunk: int = CHUNK, model: Any = None
) -> Iterator[faithfulness.FaithfulnessTables]:  # fmt: skip
    metrics, imputers = plugins("faithfulness", BATTERIES[battery]), plugins("imputers", {"black": {}})
    return faithfulness.score_faithfulness(
        model or Model(), images, maps[0], predictions, metrics, imputers, {"arch": "net", "seed": 0}, 0, chunk=chunk,
        explain=explain if battery == "rerun" else None,
    )  # fmt: skip


def located(images: ImageStore, maps: list[MapStore], predictions: pd.DataFrame) -> Iterator[Any]:
    metrics = plugins("localization", {"locacc": {}, "iou": {}})
    return localization.score_localization(images, maps[:1], predictions, metrics, {"arch": "net", "seed": 0})


def agreed(images: ImageStore, maps: list[MapStore], predictions: pd.DataFrame) -> Iterator[Any]:
    stores = {("net", seed): {"cams": one} for seed, one in enumerate(maps)}
    metrics = plugins("agreement", {"consist": {}, "spearman": {}})
    return agreement.score_agreement(images, stores, predictions, metrics, 0)


def across(images: ImageStore, maps: list[MapStore], predictions: pd.DataFrame) -> Iterator[Any]:
    stores = {(arch, seed): {"cams": one} for arch in ("net", "other") for seed, one in enumerate(maps)}
    metrics, kinds = plugins("agreement", {"consist": {}}), ["architectures", "ensemble"]
    return score_across_architectures(images, stores, predictions, metrics, kinds, 0)


Job = Callable[[ImageStore, list[MapStore], pd.DataFrame], Iterator[Any]]
JOBS: dict[str, Job] = {
    **{battery: lambda *given, battery=battery: faithful(*given, battery) for battery in BATTERIES},  # type: ignore[misc]
    "localization": located, "agreement": agreed, "across": across,
}  # fmt: skip


def about(images: ImageStore) -> pd.DataFrame:
    of_class = ["a", "b"] * (len(images.ids) // 2)
    columns = {"group": images.ids, "part": "test", "label": of_class, "predicted": "a", "correct": True}
    return pd.DataFrame({"image_id": images.ids, **columns})


def run(folder: Path, job: Job) -> tuple[int, int]:
    """The bytes that Python and numpy held at the peak, and the most rows that were read at once."""
    with (
        WatchedImages(folder / "images.h5") as images,
        WatchedMaps(folder / "0.h5") as one,
        WatchedMaps(folder / "1.h5") as two,
    ):
        predictions = about(images)
        tracemalloc.start()
        for _ in job(images, [one, two], predictions):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, max(images.most, one.most, two.most)


@pytest.mark.parametrize("job", JOBS)
def test_memory_does_not_grow_with_the_images(
    studies: dict[int, Path], job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "FEW_BYTES", 100_000)  # these maps are small: they would stay in memory
    (few, _), (many, most) = (run(studies[count], JOBS[job]) for count in (FEW, MANY))
    assert most <= MOST_AT_ONCE
    assert many < 1.5 * few, f"{few / 1e6:.1f} MB of {FEW} images, {many / 1e6:.1f} MB of {MANY}"


MERGED = CompositeSettings(
    use="adcc", options={}, variants=["black"],
    parts={name: CompositePart(metric=name, variant="") for name in ("coherency", "complexity", "average_drop")},
)  # fmt: skip


def write_scores(folder: Path, count: int) -> list[str]:
    """Two batteries of one cell and a localization table, their rows as scoring jobs add them."""
    draw, paths = np.random.default_rng(0), []
    metrics = {
        "faithfulness/net/seed-0/cams.masking": ["complexity", "average_drop", "faith"],
        "faithfulness/net/seed-0/cams.rerun": ["coherency"],
        "localization/net/seed-0": ["locacc", "iou"],
    }
    for name, labels in metrics.items():
        paths.append(str(folder / f"results/s/scores/{name}.parquet"))
        with parquet.writing(paths[-1], parquet.SCORES) as add:
            for start in range(0, count, CHUNK):
                add(scores_of([f"image-{row:05d}" for row in range(start, start + CHUNK)], labels, draw))
    return paths


def scores_of(ids: list[str], metrics: list[str], draw: np.random.Generator) -> pd.DataFrame:
    """A row per image, method and metric, one image after the other within each of these."""
    rows = pd.MultiIndex.from_product([metrics, [*LABELS, "random"], ids], names=["metric", "method", "image_id"])
    fixed = {
        "arch": "net", "seed": 0, "arch2": "", "seed2": pd.NA, "copy": 0, "layer": "", "target": "predicted", "variant": "black",
        "group": "g", "part": "test", "label": "a", "predicted": "a", "correct": True, "status": "ok", "reason": "",
    }  # fmt: skip
    return rows.to_frame(index=False).assign(value=draw.random(len(rows)), **fixed).astype(dict(parquet.SCORES))


def test_merging_holds_some_images_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of all tables, and a composite of two batteries, in a peak that does not grow with the images."""
    monkeypatch.setattr(parquet, "ROWS_HELD", 2000)
    peaks, rows, counts = [], [], (8 * CHUNK, 40 * CHUNK)
    for count in counts:
        paths, most, before = write_scores(tmp_path / str(count), count), 0, pa.total_allocated_bytes()
        tracemalloc.start()
        with parquet.writing(tmp_path / f"{count}.parquet", parquet.SCORES) as add:
            for table in composite.merge_tables(paths, {"adcc": MERGED}):
                add(table)
                most = max(
                    most, pa.total_allocated_bytes() - before
                )  # texts are Arrow's, which tracemalloc does not see
        peaks.append(tracemalloc.get_traced_memory()[1] + most)
        tracemalloc.stop()
        rows.append(len(parquet.read(tmp_path / f"{count}.parquet", parquet.SCORES)))
    assert rows == [count * 3 * (3 + 1 + 2 + 1) for count in counts]
    assert peaks[1] < 1.3 * peaks[0], [
        f"{peak / 1e6:.1f} MB of {count}" for peak, count in zip(peaks, counts, strict=True)
    ]


@pytest.mark.parametrize("battery", ["masking", "ranking"])
def test_no_forward_is_run_twice_because_images_or_methods_are_in_different_chunks(
    studies: dict[int, Path], battery: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, words = [], []
    with ImageStore(studies[FEW] / "images.h5") as images, MapStore(studies[FEW] / "0.h5") as maps:
        for chunk in (7, 10_000):
            model = Model().eval()
            list(faithful(images, [maps], about(images), battery, chunk, model))
            seen.append(model.seen)
            words.append(capsys.readouterr().out)
    assert seen[0] == seen[1]
    assert words[0] == words[1]
    assert words[0].startswith(f"{seen[0]} forwards")


@pytest.mark.parametrize("battery", BATTERIES)
def test_scores_do_not_depend_on_the_chunks(studies: dict[int, Path], battery: str) -> None:
    found = []
    with ImageStore(studies[FEW] / "images.h5") as images, MapStore(studies[FEW] / "0.h5") as maps:
        for chunk in (7, 10_000):
            tables = pd.concat(part.scores for part in faithful(images, [maps], about(images), battery, chunk))
            found.append(tables.set_index(["method", "copy", "metric", "variant", "image_id"]))
    some, whole = found
    assert not some.index.duplicated().any()
    assert (some["status"] == "ok").mean() > 0.9
    some = some.loc[whole.index]
    assert (some["status"] == whole["status"]).all()
    np.testing.assert_allclose(some["value"], whole["value"], atol=1e-5)
