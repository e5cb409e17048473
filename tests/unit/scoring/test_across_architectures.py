"""The job across architectures, on real stores: who is compared with whom, under which name, and the table of it."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joined_tables import joined
from typed import described

from gradfaith.config.study import PluginUse
from gradfaith.metrics.agreement import spearman
from gradfaith.metrics.runners.agreement import choose_partners
from gradfaith.reporting.tables import across as across_tables
from gradfaith.reporting.tables import contract as sheet_tables
from gradfaith.scoring import across_architectures, score_rows
from gradfaith.stats.estimates import ESTIMATE_KEYS, estimate_scores
from gradfaith.storage.hdf5 import ImageStore, MapStore, MapWriter
from gradfaith.storage.map_info import MapInfo

ARCHS, SEEDS = {"vit": 8, "resnet": 4, "densenet": 4}, [0, 1]
METRICS = score_rows.load_plugins("agreement", {name: PluginUse(use=name) for name in ("consist", "spearman")})
ABOUT = {
    "title": "phantom",
    "architectures": list(ARCHS),
    "controls": ["centre"],
    "level": 0.95,
    "metrics": {},
    "notes": [],
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory, predictions):
    """Three architectures of two grids; `guided` is not asked of the vit, and the resnet explained fewer images."""
    folder, draw, stores = tmp_path_factory.mktemp("maps"), np.random.default_rng(0), {}
    for (arch, cells), seed in product(ARCHS.items(), SEEDS):
        own = predictions.iloc[: 20 if arch == "resnet" else 24]
        role = np.where(own["correct"], "both", "true")
        table = pd.DataFrame({"image_id": own["image_id"], "target": 0, "role": role})
        path = folder / f"{arch}-{seed}.h5"
        with MapWriter(path, table, {}) as writer:
            for label, copies in (
                ("cam", 1),
                ("shuffled-cam", 2),
                ("centre", 1),
                *((("guided", 1),) * (arch != "vit")),
            ):
                grid = "input" if label == "guided" else "native"
                side = 32 if label == "guided" else cells
                maps = draw.random((len(table), copies, side, side)).astype(np.float32)
                layer = "" if label == "guided" else f"{arch}.last"
                writer.put(label, MapInfo(label, layer, grid, False, copies), 0, maps, 1.0)
        stores[arch, seed] = {"cams": MapStore(path)}
    return stores


@pytest.fixture(scope="module")
def found(opened, images_file: Path, predictions) -> pd.DataFrame:
    with ImageStore(images_file) as images:
        tables = across_architectures.score_across_architectures(
            images, opened, predictions, METRICS, ["architectures", "ensemble"], 0
        )
        return joined(tables)


def test_every_pair_is_compared_once_seed_by_seed(found):
    pairs = found[(found["variant"] == "architectures") & (found["method"] == "cam")]
    named = set(pairs[["arch", "arch2", "seed", "seed2"]].itertuples(index=False, name=None))
    assert named == {
        (*pair, s, s) for pair in [("densenet", "resnet"), ("densenet", "vit"), ("resnet", "vit")] for s in SEEDS
    }
    assert not found.duplicated([*ESTIMATE_KEYS, "seed", "image_id"]).any()
    assert set(found["copy"]) == {0}
    assert set(pairs["target"]) == {"true"}
    assert set(found.loc[found["arch2"] == "ensemble", "variant"]) == {"ensemble", "between-images"}
    assert found.loc[found["arch2"] == "ensemble", "seed2"].isna().all()


def test_a_pair_has_the_images_both_explained_whatever_a_third_did(found):
    counts = found[found["variant"] == "architectures"].groupby(["arch", "arch2"])["image_id"].nunique()
    assert counts.to_dict() == {("densenet", "resnet"): 20, ("densenet", "vit"): 24, ("resnet", "vit"): 20}


def test_a_method_of_one_side_is_not_compared(found, capsys):
    guided = found[found["method"] == "guided"]
    assert set(guided["arch2"]) == {"resnet", "ensemble"}
    assert set(guided.loc[guided["arch2"] == "ensemble", "arch"]) == {"densenet", "resnet"}


def test_layers_are_those_of_both(found):
    cam = found[(found["method"] == "cam") & (found["variant"] == "architectures")]
    assert set(cam["layer"]) == {"densenet.last / resnet.last", "densenet.last / vit.last", "resnet.last / vit.last"}
    assert set(found.loc[found["method"] == "guided", "layer"]) == {""}


def test_numbers_are_those_of_the_maps_in_the_stores(found, opened, predictions):
    a, b = opened["resnet", 1]["cams"], opened["vit", 1]["cams"]
    known = predictions.set_index("image_id")
    own = found.query("arch == 'resnet' and arch2 == 'vit' and seed == 1 and method == 'cam' and metric == 'spearman'")
    same = own[own["variant"] == "architectures"].set_index("image_id")["value"]
    ready = {}
    for name, maps, cells in (("a", a, 4), ("b", b, 8)):
        raw = maps.maps("cam", 0).astype(float).reshape(len(maps.rows), 4, cells // 4, 4, cells // 4).mean(axis=(2, 4))
        ready[name] = dict(zip(maps.rows["image_id"], spearman.ready(raw), strict=True))
    for image, value in same.items():
        assert value == pytest.approx(float(spearman.score(ready["a"][image][None], ready["b"][image][None]).value[0]))
    chance = own[own["variant"] == "between-images"].set_index("image_id")["value"]
    shown = across_architectures.compared_images(list(same.index), known)
    partners = choose_partners(shown, 8, (0, "agreement"))
    for image, others in zip(same.index, partners, strict=True):
        names = [shown.image_ids[other] for other in others if other >= 0]
        values = [spearman.score(ready["a"][image][None], ready["b"][other][None]).value[0] for other in names]
        assert chance[image] == pytest.approx(np.mean(values))


def test_the_table_names_every_pair_its_chance_and_who_is_missing(found, predictions):
    localized = [
        found[(found["variant"] == "ensemble") & (found["metric"] == "consist")].assign(
            arch2="", metric="locacc", variant="", method=method, arch=arch)
        for arch, method in (("vit", "cam"), ("resnet", "cam"), ("resnet", "guided"), ("densenet", "guided"), ("densenet", "cam"))
    ]  # fmt: skip
    first = [frame.drop_duplicates(["seed", "image_id"]) for frame in localized]
    table = estimate_scores([pd.concat([found, *first], ignore_index=True)])
    sheet = across_tables.tabulate({"estimates": table}, described(ABOUT))
    captions = [block.caption for block in sheet.blocks]
    assert sorted(captions[:3]) == ["densenet and resnet", "densenet and vit", "resnet and vit"]
    assert captions[3:] == [f"{arch} and the mean of all others" for arch in ARCHS]
    assert list(sheet.blocks[0].header[:5]) == ["method", "Consist", "chance", "Spearman", "chance"]
    text = sheet_tables.markdown(sheet)
    assert "densenet and vit, 1 of densenet (guided)" in text
    assert "densenet and resnet, 1" not in text
    ensemble = {row[0].text: row for row in sheet.blocks[-1].rows}
    place = list(sheet.blocks[-1].header).index("other models")
    assert ensemble["cam"][place].text == "5"
    assert ensemble["guided"][place].text == "3"
    assert set(sheet.data["arch2"]) == {"resnet", "vit", "ensemble"}
