"""Localization on the grid that all architectures share: by plain loops, and as a comparison of architectures in the tables."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joined_tables import joined
from torch import from_numpy
from torch.nn.functional import interpolate
from typed import described
from whole_scores import contrasts_of

from gradfaith.config.study import PluginUse
from gradfaith.reporting.tables import across as across_table
from gradfaith.reporting.tables import contract as sheet_tables
from gradfaith.reporting.tables import pairs as pairs_table
from gradfaith.scoring import localization, score_rows
from gradfaith.stats.estimates import estimate_scores
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

GRIDS, SEEDS, SIDE = {"vit": 8, "resnet": 4}, [0, 1], 32
METRICS = score_rows.load_plugins(
    "localization", {name: PluginUse(use=name) for name in ("saliency_score", "iou_area_matched")}
)
BETTER = dict.fromkeys(METRICS, "higher")
ABOUT = {
    "title": "phantom", "architectures": list(GRIDS), "controls": ["centre"], "level": 0.95, "metrics": {}, "notes": [],
    "primary": {"metric": "saliency_score", "method": "cam", "against": "centre"},
}  # fmt: skip


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, predictions: pd.DataFrame
) -> dict[tuple[str, int], dict[str, MapStore]]:
    """Maps of 8 x 8 and of 4 x 4; `guided` has a value per pixel, `alone` is a method of the vit only."""
    folder, draw, found = tmp_path_factory.mktemp("maps"), np.random.default_rng(1), {}
    for (arch, cells), seed in product(GRIDS.items(), SEEDS):
        table = pd.DataFrame({"image_id": predictions["image_id"], "target": 0, "role": "true"})
        path = folder / f"{arch}-{seed}.h5"
        with MapWriter(path, table, {}) as writer:
            for label, copies in (("cam", 1), ("shuffled-cam", 2), ("centre", 1), ("guided", 1), ("alone", 1)):
                if label == "alone" and arch == "resnet":
                    continue
                grid, side = ("input", SIDE) if label == "guided" else ("native", cells)
                maps = draw.normal(0.3, 1, (len(table), copies, side, side)).astype(np.float32)
                writer.put(label, MapInfo(label, "", grid, True, copies), 0, maps, 1.0)
        found[arch, seed] = {"cams": MapStore(path)}
    return found


@pytest.fixture(scope="module")
def answers(predictions: pd.DataFrame) -> pd.DataFrame:
    frames = [predictions.assign(arch=arch, seed=seed, part="test") for arch, seed in product(GRIDS, SEEDS)]
    every = pd.concat(frames, ignore_index=True)
    return every.assign(correct=every["correct"] & (every["arch"] == "vit"))


@pytest.fixture(scope="module")
def found(stores: dict, answers: pd.DataFrame, images_file: Path) -> pd.DataFrame:
    with ImageStore(images_file) as images:
        return joined(localization.score_on_common_grid(images, stores, answers, METRICS))


def averaged(raw: np.ndarray) -> np.ndarray:
    """Average an 8 x 8 map over blocks of 2 x 2, cell by cell."""
    return np.array([[raw[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(4)] for i in range(4)])


def test_numbers_are_those_of_maps_averaged_by_plain_loops(
    found: pd.DataFrame, stores: dict, images_file: Path
) -> None:
    own = found.query(
        "arch == 'vit' and seed == 1 and method == 'cam' and metric == 'saliency_score' and status == 'ok'"
    )
    maps = stores["vit", 1]["cams"]
    assert len(own) > 10
    with ImageStore(images_file) as images:
        for image, value in own.set_index("image_id")["value"].items():
            raw = maps.maps("cam", 0)[list(maps.rows["image_id"]).index(image)].astype(float)
            coarse = np.maximum(averaged(raw), 0)
            large = interpolate(from_numpy(coarse)[None, None], (SIDE, SIDE), mode="bilinear")[0, 0].numpy()
            unit = (large - large.min()) / (large.max() - large.min())
            mask = images.mask("evidence", [image])[0][0]
            inside = sum(unit[i, j] for i in range(SIDE) for j in range(SIDE) if mask[i, j])
            assert value == pytest.approx(inside / unit.sum(), rel=1e-5)


def test_maps_that_have_the_grid_already_keep_their_scores(
    found: pd.DataFrame, stores: dict, answers: pd.DataFrame, images_file: Path
) -> None:
    own = answers[(answers["arch"] == "resnet") & (answers["seed"] == 0)]
    with ImageStore(images_file) as images:
        model = {"arch": "resnet", "seed": 0}
        alone = joined(localization.score_localization(images, list(stores["resnet", 0].values()), own, METRICS, model))
    both = alone.merge(found, on=["arch", "seed", "image_id", "method", "copy", "metric"], suffixes=("", "_common"))
    assert len(both) == len(alone)
    assert np.array_equal(both["value"], both["value_common"], equal_nan=True)
    assert (both["correct"] == both["correct_common"]).all()


def test_methods_of_one_architecture_are_left_out_and_copies_are_kept(found: pd.DataFrame) -> None:
    assert set(found["method"]) == {"cam", "shuffled-cam", "centre", "guided"}
    assert set(found.loc[found["method"] == "shuffled-cam", "copy"]) == {0, 1}
    assert set(found["variant"]) == {"common-grid"}
    assert set(found["target"]) == {"true"}


def test_the_tables_compare_architectures_on_this_grid(found: pd.DataFrame) -> None:
    found = found.assign(group=found["image_id"])
    table = contrasts_of(found, ["centre"], BETTER, on_common_grid=list(METRICS))
    assert set(table["comparison"]) == {"architecture"}
    assert set(zip(table["arch"], table["against"], strict=True)) == {("vit", "resnet")}
    sheet = pairs_table.tabulate({"contrasts": table}, described(ABOUT))
    text = sheet_tables.markdown(sheet)
    assert "cam: vit minus resnet" in text
    assert "Saliency score (common grid)" in text
    estimates = estimate_scores([found])
    shown = across_table.tabulate({"estimates": estimates}, described(ABOUT))
    assert [block.caption for block in shown.blocks] == [
        "Saliency score (common grid)",
        "Area-matched IoU (common grid)",
    ]
    assert list(shown.blocks[0].header) == ["method", "vit", "resnet"]
    assert set(shown.data["variant"]) == {"common-grid"}
    assert "Chance" not in " ".join(shown.lead)
