"""Figures of maps, on planted stores: many methods side by side, maps that say nothing, and one image by itself."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import ABOUT, CLASSES
from test_figures import collisions, texts
from typed import primary_contrast

from gradfaith import registry
from gradfaith.config.result_settings import PrimaryContrast
from gradfaith.errors import StudyInvalid
from gradfaith.reporting.figures import degenerate, methods_side_by_side, overlay, theme
from gradfaith.reporting.figures.contract import FigureInputs
from gradfaith.reporting.image_examples import typicality_values
from gradfaith.stats.estimates import SCORE_COLUMNS
from gradfaith.storage import hdf5, map_info, parquet

METHODS = [*registry.names("methods"), "shuffled-gradcam", "centre"]
LONG = ["integrated_gradients-black", "refine-layercam-inverse_exp"]


def planted(path: Path, ids: list[str], broken: dict[str, dict[int, float]], labels: list[str]) -> hdf5.MapStore:
    """Smooth maps of all labels; `broken`: label -> row -> what the map holds everywhere, or in one cell where it is no number."""
    rows = pd.DataFrame({"image_id": ids, "target": 2, "role": "both"})
    y, x = np.mgrid[:4, :5]
    smooth = np.stack([np.exp(-((y - n % 4) ** 2 + (x - n % 5) ** 2) / 4) for n in range(len(ids))]).astype(np.float32)
    with hdf5.MapWriter(path, rows, {}) as writer:
        for label in labels:
            maps = smooth.copy()
            for row, value in broken.get(label, {}).items():
                where = slice(None) if np.isfinite(value) else (1, 2)
                maps[row][where] = value
            info = map_info.MapInfo(label, "features.denseblock4.denselayer16", "native", False, 1, "logit")
            writer.put(label, info, 0, maps[:, None], 1.0)
    return hdf5.MapStore(path)


@pytest.fixture
def given(images_file: Path, predictions: pd.DataFrame, tmp_path: Path) -> Iterator[FigureInputs]:
    """Two architectures; on the first some maps are constant or not finite."""
    ids = list(predictions["image_id"])[:10]
    lost = {
        "gradcam": {1: 0.25, 4: 0.25, 7: 0.25, 3: np.nan},
        "shuffled-gradcam": dict.fromkeys(range(10), 0.0),
        "centre": {9: 1.0},
    }
    names = [*METHODS, *LONG]
    maps = {
        ("net-a", 0, "cams"): planted(tmp_path / "a.h5", ids, lost, names),
        ("net-a", 1, "cams"): planted(tmp_path / "a1.h5", ids, {}, names),
        ("net-b", 0, "cams"): planted(tmp_path / "b.h5", ids, {}, names[1:]),  # without the first method
    }
    answers = [predictions.assign(arch=arch, seed=0) for arch in ("net-a", "net-b")]
    table = pd.concat(answers).assign(**{f"calibrated_{name}": 1 / 3 for name in CLASSES})
    about = predictions[["image_id", "group"]].assign(group_kind="patient")
    scores = pd.DataFrame(columns=["method", "metric", "variant", "seed", "status", "image_id", "value"])
    with hdf5.ImageStore(images_file) as images:
        yield FigureInputs(
            title="t", classes=CLASSES, architectures=["net-a", "net-b"], seeds=[0, 1], controls=["centre"],
            primary=primary_contrast(ABOUT["primary"]), metrics={}, level=0.95, min_groups=8,
            tables={"predictions": table, "scores": scores, "manifest": about}, images=images, maps=maps,
        )  # fmt: skip
    for one in maps.values():
        one.__exit__()


def test_every_method_stands_side_by_side_in_readable_words(given: FigureInputs) -> None:
    with theme.use_theme():
        figure = methods_side_by_side.draw(given, images=3)
        said = [text.replace("\n", "") for text in texts(figure)]
        assert collisions(figure) == []
    wanted = {label for label in METHODS + LONG if label not in {"centre", "shuffled-gradcam"}}
    assert wanted <= set(said)
    assert not {"centre", "shuffled-gradcam"} & set(said)
    blocks = -(-len(wanted) // methods_side_by_side.MAX_METHODS_PER_LINE["double"])
    assert said.count("image") == blocks > 1
    assert sum(text.startswith("true: ") for text in said) == 3 * blocks
    assert figure.get_size_inches()[0] <= theme.PAGE_WIDTH + 0.01
    sizes = [text.get_fontsize() for axes in figure.axes for text in (axes.title, axes.yaxis.label) if text.get_text()]
    assert min(sizes) > 5


def test_a_line_is_explained_where_one_is_drawn(given: FigureInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    for explained in (True, False):
        with theme.use_theme():
            said = "".join(texts(methods_side_by_side.draw(given, images=3))).replace("\n", " ")
        assert ("Cyan line: evidence." in said) == explained
        nowhere = lambda _region, ids: (np.zeros((len(ids), 8, 8), dtype=bool), np.zeros(len(ids), dtype=bool))  # noqa: E731
        monkeypatch.setattr(given.images, "mask", nowhere)


def test_methods_that_are_named_stand_in_their_order_and_unknown_ones_are_refused(given: FigureInputs) -> None:
    with theme.use_theme():
        figure = methods_side_by_side.draw(given, images=3, arch="net-b", methods=("lime", "centre", "cam"))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["image", "lime", "centre", "cam"]
    for words in ({"methods": ("limes",)}, {"arch": "net-b", "methods": (METHODS[0],)}):
        with pytest.raises(StudyInvalid, match="there are no maps of"):
            methods_side_by_side.draw(given, **words)


def test_a_method_asked_of_some_architectures_only_is_shown_where_it_is(given: FigureInputs) -> None:
    with theme.use_theme():
        titles = [axes.get_title().replace("\n", "") for axes in methods_side_by_side.draw(given, arch="net-b").axes]
    assert METHODS[0] not in titles
    assert METHODS[1] in titles


def test_constant_and_broken_maps_are_counted_and_shuffled_copies_are_not(given: FigureInputs) -> None:
    table = degenerate.count_lost_maps(given).set_index(["method", "arch"])
    assert table.loc[("gradcam", "net-a"), ["maps", "degenerate", "failed", "lost"]].tolist() == [20, 3, 1, 4]
    assert table.loc[("gradcam", "net-a"), "share"] == pytest.approx(0.2)
    assert table.loc[("gradcam", "net-b"), ["maps", "lost"]].tolist() == [10, 0]
    assert table.loc[("centre", "net-a"), "lost"] == 1
    assert "shuffled-gradcam" not in table.index.get_level_values("method")
    assert table["lost"].sum() == 5


def test_the_table_names_what_is_lost_and_shows_the_first_image_of_the_worst(given: FigureInputs) -> None:
    with theme.use_theme():
        figure = degenerate.draw(given)
        said = texts(figure)
        assert collisions(figure) == []
    assert {"3 constant (15 %)\n1 not finite (5 %)", "1 constant (5 %)", "none"} <= set(said)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["gradcam", "centre"]
    assert figure.axes[1].get_title() == "gradcam, net-a"
    assert figure.axes[1].get_xlabel() == "image-01, seed 0\nwhy malignant?\nall 4 x 5 cells are 0.25"
    assert figure.axes[2].get_xlabel() == "image-09, seed 0\nwhy malignant?\nall 4 x 5 cells are 1"
    others = len(METHODS) + len(LONG) - 3
    assert f"None among the other {others} methods and controls." in said[-1]
    patients = len(set(given.tables["manifest"]["group"][:10]))
    assert f"10 images of {patients} patient" in said[-1]


def test_a_method_that_is_not_asked_of_an_architecture_is_no_zero(given: FigureInputs, tmp_path: Path) -> None:
    ids = [*given.maps["net-a", 0, "cams"].rows["image_id"]]
    lost = planted(tmp_path / "c.h5", ids, {METHODS[0]: {0: np.inf}}, [METHODS[0]])
    with theme.use_theme():
        figure = degenerate.draw(replace(given, maps={**given.maps, ("net-a", 0, "cams"): lost}))
    assert {"0 constant (0 %)\n1 not finite (5 %)", "no map"} <= set(texts(figure))
    assert "1 of 20 cells are not finite" in figure.axes[1].get_xlabel()
    lost.__exit__()


def test_a_study_without_such_maps_says_so_in_a_sentence(given: FigureInputs) -> None:
    with theme.use_theme():
        figure = degenerate.draw(replace(given, maps={("net-b", 0, "cams"): given.maps["net-b", 0, "cams"]}))
    maps = 10 * (len(METHODS) + len(LONG) - 2)
    assert texts(figure) == [
        f"No map is constant and all are finite: {maps} maps of {maps // 10} methods and controls were counted."
    ]
    assert not figure.axes


def test_one_image_s_maps_side_by_side_say_layer_score_and_answer() -> None:
    draw = np.random.default_rng(0)
    pixels, evidence = draw.integers(0, 255, (32, 32), dtype=np.uint8), np.zeros((32, 32), dtype=bool)
    evidence[4:9, 4:9] = True
    scene = overlay.ExplainedImage("a" * 99 + ".png", pixels, evidence, "ill 0.91", "well", "ill", "net, seed 0,")
    drawn = []
    for label, layer, score in (
        *((label, "stages.3.blocks.2.norm1", "logit") for label in METHODS[:9]),
        (LONG[0], "", "logit"), ("attention_rollout", "", "logit"), (LONG[1], "layer1+layer2+layer4", "log_odds"), ("centre", "", ""),
    ):  # fmt: skip
        info = map_info.MapInfo(label, layer, "input" if label == LONG[0] else "native", False, 1, score)
        raw = (
            np.zeros((4, 4), np.float32)
            if label == METHODS[2]
            else draw.random((32, 32) if label == LONG[0] else (4, 4), np.float32)
        )
        drawn.append(overlay.LabelledMap(label, info, overlay.to_display_map(raw, info, (32, 32))))
    with theme.use_theme():
        figure = overlay.draw_maps_side_by_side(scene, drawn)
        said = texts(figure)
        assert collisions(figure) == []
        alone = overlay.draw_single_map(scene, drawn[2])
        assert "no map:\nit is constant" in texts(alone)
        assert collisions(alone) == []
    assert {
        "true: well\nanswer: ill 0.91",
        "the image",
        "every block",
        "layer1 to layer4\nlog-odds",
        "does not use the model",
    } <= set(said)
    assert said.count("no map:\nit is constant") == 1
    assert "a.png: net, seed 0, answers ill 0.91." in said[-1].replace("\n", " ")


def test_names_are_broken_where_their_words_end_and_nothing_is_lost() -> None:
    assert overlay.wrap_name("integrated_gradients", 11) == "integrated_\ngradients"
    assert overlay.wrap_name("gradcam_pp", 11) == "gradcam_pp"
    assert overlay.wrap_name("random-grid", 11) == "random-grid"
    for label in METHODS + LONG:
        assert overlay.wrap_name(label, 7).replace("\n", "") == label


def test_images_are_chosen_by_the_same_numbers_from_texts_and_from_categories(tmp_path: Path) -> None:
    """Images come in the order of their ids, whatever the order of the scores."""
    ids, draw = [f"image-{number}" for number in (3, 11, 2, 7)], np.random.default_rng(0)
    cells = product(("net-b", "net-a"), (0, 1), ("gradcam", "centre"), ids)
    table = pd.DataFrame(cells, columns=["arch", "seed", "method", "image_id"])
    fixed = {
        "arch2": "",
        "seed2": pd.NA,
        "copy": 0,
        "layer": "",
        "target": "true",
        "metric": "locacc",
        "variant": "",
        "reason": "",
    }
    of_image = {
        "group": table["image_id"],
        "part": "test",
        "label": "a",
        "predicted": "a",
        "correct": True,
        "status": "ok",
    }
    across = table.assign(**fixed, **of_image, value=draw.random(len(table))).assign(arch2="net-c", value=9.0)
    scores = pd.concat([across, table.assign(**fixed, **of_image, value=draw.random(len(table)))])
    parquet.write(tmp_path / "scores.parquet", scores, parquet.SCORES)
    predictions = scores[["arch", "seed", "image_id", "label"]].assign(calibrated_a=0.5)
    read = (parquet.read, lambda path, schema: parquet.read_columns(path, schema, SCORE_COLUMNS))
    texts, categories = (
        typicality_values(
            predictions,
            how(tmp_path / "scores.parquet", parquet.SCORES),
            PrimaryContrast(metric="locacc", method="gradcam", against="centre"),
            ["a"],
        )
        for how in read
    )
    pd.testing.assert_series_equal(texts, categories)
    assert list(texts.index) == sorted(ids)
    assert (texts < 1).all()


def test_a_map_of_few_bright_pixels_is_scaled_to_what_can_be_seen() -> None:
    smooth = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    spiky = smooth * 0.2
    spiky[0, :50] = 1
    with theme.use_theme():
        axes = theme.new_page(2).subplots(1, 3)
        for place, unit in zip(
            axes, (smooth, spiky, np.eye(200, dtype=np.float32) * (np.arange(200) < 9)), strict=True
        ):
            overlay.draw_map(place, unit, "ok")
    tops = [place.images[0].get_clim()[1] for place in axes]
    assert tops == [1, pytest.approx(np.quantile(spiky, 0.99)), 1]
    assert 0.15 < tops[1] < 0.2
