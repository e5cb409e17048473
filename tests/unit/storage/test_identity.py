"""A file says what it is: one that lies in another's place, or was made from other files than lie there, is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradfaith.errors import ForeignFile
from gradfaith.storage import json_file, parquet
from gradfaith.storage.hdf5 import ImageStore, ImageWriter, MapStore, MapWriter
from gradfaith.storage.identity import KINDS, Identity, advise_replacement
from gradfaith.storage.map_info import MapInfo
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import StudyPaths

PATHS = StudyPaths("tiny", "tiny", "tiny")
WILDCARDS = {"arch": "a.b-c_1", "seed": "3", "bundle": "cams", "battery": "masking"}
SCHEMA = {"image_id": "str", "value": "float64"}
TABLE = pd.DataFrame({"image_id": ["a", "b"], "value": [0.25, 0.5]})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_known_by_its_place(kind: str) -> None:
    path = getattr(PATHS, kind)
    found = Identity.of_place("/home/results/x/" + path.format(**WILDCARDS))
    named = {name: value for name, value in WILDCARDS.items() if f"{{{name}}}" in path}
    expected = {"kind": kind, "study": "tiny", **named} | ({"seed": 3} if "seed" in named else {})
    assert {name: value for name, value in vars(found).items() if value not in ("", None, {})} == expected
    assert Identity.from_json(found.to_json()) == found


def test_a_json_file_is_refused_in_another_study_and_beside_other_inputs(tmp_path: Path) -> None:
    verdict, estimates = (tmp_path / getattr(PATHS, name) for name in ("verdict", "estimates"))
    parquet.write(estimates, TABLE, SCHEMA)
    json_file.write_identified(verdict, {"level": 0.95}, check_inputs([estimates]), version=1)
    assert str(estimates) in check_inputs([verdict, estimates])
    parquet.write(estimates, TABLE.assign(value=0.75), SCHEMA)
    with pytest.raises(ForeignFile, match=r"verdict.json was made from another version of .*estimates.parquet"):
        check_inputs([verdict, estimates])
    other = tmp_path / StudyPaths("other", "other", "other").verdict
    other.parent.mkdir(parents=True)
    shutil.copy(verdict, other)
    with pytest.raises(ForeignFile, match="study tiny"):
        check_inputs([other])


def test_a_file_elsewhere_has_no_place_to_compare(tmp_path: Path) -> None:
    parquet.write(tmp_path / "any.parquet", TABLE, SCHEMA)
    (tmp_path / "predictions/net").mkdir(parents=True)
    shutil.copy(tmp_path / "any.parquet", tmp_path / "other.parquet")
    assert len(parquet.read(tmp_path / "other.parquet", SCHEMA)) == 2


def table_at(folder: Path, study: str = "tiny", arch: str = "net", seed: int = 0, **made_from: str) -> Path:
    path = folder / f"results/{study}/predictions/{arch}/seed-{seed}.parquet"
    parquet.write(path, TABLE, SCHEMA, made_from)
    return path


def maps_at(folder: Path, seed: int = 0, bundle: str = "cams", **stamp: object) -> Path:
    path = folder / f"results/tiny/maps/net/seed-{seed}/{bundle}.h5"
    rows = pd.DataFrame({"image_id": ["a"], "target": [0], "role": ["both"]})
    with MapWriter(path, rows, {"code": "c", **stamp}, {"results/tiny/data/images.h5": "d1"}) as writer:
        writer.put("cam", MapInfo("gradcam", "x", "native", False, 1), 0, np.ones((1, 1, 2, 2), np.float32), 0.1)
    return path


def images_at(folder: Path, digest: str) -> Path:
    path = folder / "results/tiny/data/images.h5"
    with ImageWriter(path, ["a"], [], (1, 4, 4), {}) as writer:
        writer.put(0, np.zeros((1, 4, 4), np.uint8), {})
        writer.describe(mean=0.1, std=0.1, digest=digest)
    return path


@pytest.mark.parametrize("other", [{"seed": 1}, {"arch": "vit"}, {"study": "big"}])
def test_a_table_in_anothers_place_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    here, there = table_at(tmp_path), table_at(tmp_path, **other)
    shutil.copy(there, here)
    for read in (lambda: parquet.read(here, SCHEMA), lambda: check_inputs([here])):
        with pytest.raises(ForeignFile) as refusal:
            read()
        assert str(Identity.of_place(there)) in refusal.value.problem
        assert str(Identity.of_place(here)) in refusal.value.problem
        assert str(here) in refusal.value.fix


@pytest.mark.parametrize("other", [{"seed": 1}, {"bundle": "others"}])
def test_a_store_in_anothers_place_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    here, there = maps_at(tmp_path), maps_at(tmp_path, **other)
    shutil.copy(there, here)
    with pytest.raises(ForeignFile, match="bundle cams, study tiny belongs there"):
        MapStore(here)
    with MapStore(there) as maps:
        assert maps.identity == Identity(
            "maps", "tiny", "net", **{"seed": 0, "bundle": "cams", **other}, made_from=maps.identity.made_from
        )


def test_tables_of_several_models_are_told_apart_by_what_they_say(tmp_path: Path) -> None:
    paths = [table_at(tmp_path, arch="seed-9", seed=4), table_at(tmp_path, arch="vit")]
    found = parquet.read_per_model(paths, SCHEMA)
    assert list(zip(found["arch"], found["seed"], strict=True)) == [("seed-9", 4)] * 2 + [("vit", 0)] * 2


def test_a_card_of_another_model_is_refused(tmp_path: Path) -> None:
    card = tmp_path / "results/tiny/models/net/seed-0/card.json"
    json_file.write(card, {"arch": "net", "seed": 1, "weights_sha256": "w"})
    with pytest.raises(ForeignFile, match="contains card of net, seed 1, but card of net, seed 0"):
        check_inputs([card])


def test_the_digests_of_all_that_was_read_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, maps = images_at(Path(), "d1"), maps_at(Path())
    first = check_inputs(
        [images, maps, "results/tiny/data/audit.json", "results/tiny/models/net/seed-0/weights.safetensors"]
    )
    scores = Path("results/tiny/scores/localization/net/seed-0.parquet")
    parquet.write(scores, TABLE, SCHEMA, first)
    second = check_inputs([scores])
    assert set(first) == {str(images), str(maps)}
    assert second == {**first, str(scores): second[str(scores)]}
    with ImageStore(images) as store:
        assert second[str(images)] == store.digest == "d1"


def test_a_file_made_from_another_version_than_lies_beside_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images, maps = images_at(Path(), "d2"), maps_at(Path())  # the maps name d1
    for order in ([images, maps], [maps, images]):
        with pytest.raises(ForeignFile, match=f"{maps} was made from another version of {images} than the present one"):
            check_inputs(order)


def test_only_results_of_a_study_may_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake computes them again; any other file may be the user's only copy."""
    monkeypatch.chdir(tmp_path)
    ours, two = "results/tiny/maps/net/seed-1/cams.h5", "results/tiny/scores.parquet"
    assert advise_replacement(ours, two).startswith(f"Delete {ours} and {two} and run again")
    assert advise_replacement(tmp_path / ours).startswith(f"Delete {tmp_path / ours} ")
    for other in ("cams.h5", "resources/phantom/cams.h5", "results/cams.h5", tmp_path / "cams.h5"):
        assert "elete" not in advise_replacement(other)
        assert "elete" not in advise_replacement(ours, other)


def test_two_files_made_from_different_versions_of_a_third_are_refused(tmp_path: Path) -> None:
    one, two = table_at(tmp_path, seed=0, weights="w0"), table_at(tmp_path, seed=1, weights="w1")
    with pytest.raises(ForeignFile, match=f"{one} and {two} were made from different versions of weights"):
        check_inputs([one, two])


def test_the_digest_of_a_map_store_is_of_what_decides_its_maps(tmp_path: Path) -> None:
    digests = []
    for stamp in ({}, {"device": "cuda", "threads": 4}, {"code": "other"}):
        with MapStore(maps_at(tmp_path, **stamp)) as maps:
            digests.append(maps.digest)
    assert digests[0] == digests[1] != digests[2]
