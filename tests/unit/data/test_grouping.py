"""Inferred groups: what must be joined is, the order of rows does not matter, and the table for IQ-OTH/NCCD is made again."""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradfaith.config.grouping import VERSION, Grouping
from gradfaith.data.grouping import infer, similarity
from gradfaith.data.grouping.infer import group_dataset
from gradfaith.data.readers import iqothnccd, phantom

HOW = Grouping()
OPTIONS = phantom.Options(size=256, patients_per_class=2, slices_per_patient=3, seed=4)


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Three slices of each of six phantom patients."""
    return {
        record.image_id: phantom.read(None, OPTIONS, record, None).pixels for record in phantom.index(None, OPTIONS)
    }


def inferred(pictures: dict[str, np.ndarray], how: Grouping = HOW, must=(), order=None) -> dict[str, str]:
    names = [list(pictures)[place] for place in (order if order is not None else range(len(pictures)))]
    looks = similarity.stack_views((similarity.view_image(pictures[name], how.cues) for name in names), len(names))
    found = infer.infer_groups(
        looks,
        names,
        [name.split("-")[0] for name in names],
        [str(hash(pictures[name].tobytes())) for name in names],
        how,
        must,
    )
    return dict(zip(names, found.group, strict=True))


def partition(found: dict[str, str]) -> set[frozenset[str]]:
    return {frozenset(name for name in found if found[name] == group) for group in set(found.values())}


def test_slices_of_one_phantom_patient_are_never_parted(pictures: dict[str, np.ndarray]) -> None:
    found = inferred(pictures)
    for name, group in found.items():
        assert group == found[name.rsplit("-", 1)[0] + "-0"]
    assert len(set(found.values())) > 1, "all patients are one group"


def test_the_order_of_rows_does_not_matter(pictures: dict[str, np.ndarray]) -> None:
    shuffled = np.random.default_rng(0).permutation(len(pictures))
    assert partition(inferred(pictures)) == partition(inferred(pictures, order=shuffled))


def test_a_copy_and_a_shifted_copy_in_another_class_are_joined(pictures: dict[str, np.ndarray]) -> None:
    first = pictures["benign-000-0"]
    planted = {**pictures, "copy-1": first, "moved-1": np.roll(first, (3, -4), axis=(0, 1))}
    found = inferred(planted)
    assert found["copy-1"] == found["moved-1"] == found["benign-000-0"]
    bare = inferred(planted, Grouping(cues=[]))
    assert bare["copy-1"] == bare["benign-000-0"] != bare["moved-1"]
    assert len(set(bare.values())) == len(planted) - 1, "without cues only identical images are joined"


def test_a_must_link_joins_and_one_to_a_missing_file_is_counted(pictures: dict[str, np.ndarray]) -> None:
    names = list(pictures)
    apart = inferred(pictures, Grouping(cues=[]))
    assert apart[names[0]] != apart[names[-1]]
    joined = inferred(pictures, Grouping(cues=[]), [infer.MustLink(names[0], names[-1], "seen")])
    assert joined[names[0]] == joined[names[-1]]
    look = similarity.stack_views([similarity.view_image(pictures[names[0]], [])], 1)
    assert (
        infer.infer_groups(
            look, names[:1], ["a"], ["h"], HOW.model_copy(update={"cues": []}), [infer.MustLink("a", "b", "c")]
        ).missing_must_links
        == 1
    )


def test_noise_constants_and_small_images_have_no_couch_no_lungs_and_no_trouble() -> None:
    draw = np.random.default_rng(1)
    odd = {f"a-{number}": draw.integers(0, 255, (300, 280), dtype=np.uint8) for number in range(3)}
    odd |= {"b-0": np.full((40, 90), 7, np.uint8), "b-1": np.full((64, 64), 200, np.uint8)}
    found = inferred(odd, Grouping(cues=["order", "duplicates", "lungs"]))
    assert len({found[f"a-{number}"] for number in range(3)}) == 3
    assert all(not similarity.view_image(image, HOW.cues).lungs.any() for image in odd.values())


def test_images_of_one_size_stay_apart_where_no_image_shows_a_couch() -> None:
    draw = np.random.default_rng(3)
    odd = {f"a-{number}": draw.integers(90, 100, (64, 80), dtype=np.uint8) for number in range(4)}
    assert len(set(inferred(odd, Grouping()).values())) == 4


def test_best_is_the_best_of_all_shifts_both_ways() -> None:
    draw = np.random.default_rng(2)
    pictures = draw.normal(size=(3, 20, 24)).astype(np.float32)
    pictures[1] = np.roll(pictures[0], (2, -3), axis=(0, 1))
    found = similarity.best_correlation(pictures, np.array([[0, 1], [0, 2]]))
    slow = []
    for a, b in ((0, 1), (0, 2)):
        values = []
        for one, other in ((a, b), (b, a)):
            middle = pictures[one][4:-4, 4:-4].ravel()
            values += [
                np.corrcoef(middle, pictures[other][y : y + 12, x : x + 16].ravel())[0, 1]
                for y in range(9)
                for x in range(9)
            ]
        slow.append(max(values))
    np.testing.assert_allclose(found, slow, atol=1e-5)
    assert found[0] > 0.999


@pytest.fixture(scope="module")
def release(root: Path) -> Path:
    pack = root.parent / "shared/data/iqothnccd"
    if not (pack / "manifest.csv").is_file():
        pytest.skip("no copy of IQ-OTH/NCCD lies beside the repository")
    return pack


def test_the_table_of_groups_is_made_again_from_the_images(release: Path, root: Path) -> None:
    how = Grouping(must_links=str(root / "resources/iqothnccd/must_links.tsv"))
    found = group_dataset(iqothnccd, release, iqothnccd.Options(), how, threads=2)
    own = found.groups.assign(name=found.groups["image_id"].str.rsplit("/", n=1).str[-1]).set_index("name")
    with (root / "resources/iqothnccd/groups.tsv").open() as file:
        listed = pd.DataFrame(csv.DictReader(file, delimiter="\t")).set_index("name")
    assert own["group"].to_dict() == listed["group"].to_dict()
    assert set(listed["version"]) == {str(VERSION)}
    about = pd.read_csv(release / "manifest.csv")
    about["name"] = about["file"].str.rsplit("/", n=1).str[-1]
    about["group"] = about["name"].map(own["group"].to_dict())
    assert listed["sha256"].to_dict() == about.set_index("name")["orig_sha256"].to_dict()
    assert about.groupby("orig_sha256")["group"].nunique().max() == 1, "an exact duplicate pair is split"
    twice = ((about["label"] == "benign") & about["number"].between(30, 34)) | (
        (about["label"] == "normal") & about["number"].between(81, 87)
    )
    assert about.loc[twice, "group"].nunique() == 1
    assert found.report["missing_must_links"] == 0
    assert 35 <= about["group"].nunique() <= 55
    together = {name: np.equal.outer(*[about[name].to_numpy(dtype=object)] * 2) for name in ("group", "inferred_group")}
    parted = together["inferred_group"] & ~together["group"]
    assert parted.sum() / 2 <= 600, "pairs that a reading by eye joins are split"
    near = found.links[found.links["cue"] == "duplicates"]
    assert near["value"].min() >= how.duplicate_ncc
    _neighbours_stay_together(release, about)


def _neighbours_stay_together(release: Path, about: pd.DataFrame) -> None:
    about = about.sort_values(["label", "number"]).reset_index(drop=True)
    with ThreadPoolExecutor(2) as pool:
        thumbs = np.stack(list(pool.map(lambda file: _at128(release / file), about["file"])))
    unit = similarity.standardise(thumbs)
    near = (unit[:-1] * unit[1:]).sum(axis=1) >= 0.95
    same = (about["label"][:-1].to_numpy() == about["label"][1:].to_numpy()) & near
    assert same.sum() > 500
    apart = about["group"][:-1].to_numpy() != about["group"][1:].to_numpy()
    assert not (same & apart).any()


def _at128(path: Path) -> np.ndarray:
    image = Image.open(path).convert("L")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(
        image.crop((left, top, left + side, top + side)).resize((128, 128), Image.Resampling.BOX), np.float32
    )


def test_a_must_link_finds_a_file_whose_name_is_spelt_with_other_code_points(pictures: dict[str, np.ndarray]) -> None:
    first, *_, last = pictures.values()
    named = {"Ren\u00e9-1": first, "Zoe\u0308-1": last}
    joined = inferred(named, Grouping(cues=[]), [infer.MustLink("Rene\u0301-1", "Zo\u00eb-1\u200b", "seen")])
    assert len(set(joined.values())) == 1
