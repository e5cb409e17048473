"""Figures: drawn from small synthetic tables, and read back from what was drawn."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_parts
from drawn_panels import calls_of_seaborn, intervals, points
from jinja2 import Environment, StrictUndefined
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from small_audit import AUDIT
from small_study import ABOUT, ARCHS, CLASSES, CONTROLS, SmallStudy, manifest, predictions, scores
from typed import primary_contrast

from gradfaith import registry
from gradfaith.reporting import image_examples, metric_rows
from gradfaith.reporting.escaping import report_texts
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.controls import COPIES_MARK
from gradfaith.storage import json_file, parquet

PRIMARY = primary_contrast(ABOUT["primary"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return SmallStudy(tmp_path_factory.mktemp("figures"))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return SmallStudy(tmp_path_factory.mktemp("few"), groups=2)


def texts(figure: theme.Page) -> list[str]:
    """Every word of a figure, as drawn."""
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


MAPS_OVER_IMAGES = {"panels", "methods_side_by_side", "superpixels", "topk"}  # seaborn has no mark for an image
ONE_SENTENCE = {
    "win_rates"
}  # the small study has one method, so there is no contest; test_ranking_tables.py draws some
ONE_COLUMN = [name for name in registry.names("figures") if "width" in registry.entry("figures", name).options]
DRAWN_FAST = {"confusion", "controls", "lesion_size"}


@dataclass(frozen=True)
class Drawn:
    """A figure with its default options, the folder it was saved in, and seaborn's functions that drew it."""

    name: str
    figure: theme.Page
    folder: Path
    by_seaborn: tuple[str, ...]


OF_IMAGES = [
    name for name in registry.names("figures") if "table" not in registry.entry("figures", name).declared["needs"]
]


@pytest.fixture(scope="module", params=OF_IMAGES)
def drawn(request: pytest.FixtureRequest, world: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp(request.param)
    with theme.use_theme(), calls_of_seaborn() as called:
        figure = world.draw(request.param)
        theme.save(figure, folder / "a.svg", folder / "a.pdf")
    return Drawn(request.param, figure, folder, tuple(called))


def test_every_figure_but_those_of_maps_is_drawn_by_seaborn_on_a_page_of_its_own(drawn: Drawn) -> None:
    assert bool(drawn.by_seaborn) == (drawn.name not in MAPS_OVER_IMAGES | ONE_SENTENCE)
    assert not pyplot.get_fignums(), "no page in the global state"


def test_a_figure_is_the_same_file_whenever_it_is_drawn_again(drawn: Drawn, world: SmallStudy) -> None:
    with theme.use_theme():
        theme.save(world.draw(drawn.name), drawn.folder / "b.svg", drawn.folder / "b.pdf")
    svg, pdf = (drawn.folder / "a.svg").read_text(), (drawn.folder / "a.pdf").read_bytes()
    assert svg == (drawn.folder / "b.svg").read_text()
    assert pdf == (drawn.folder / "b.pdf").read_bytes()
    assert "<text" in svg
    assert "<dc:date>" not in svg
    assert b"CreationDate" not in pdf
    assert b"/CIDFontType2" in pdf  # TrueType fonts, embedded
    assert b"/Type3" not in pdf


def test_an_image_has_300_dots_per_inch_and_is_the_same_file_each_time(world: SmallStudy, tmp_path: Path) -> None:
    with theme.use_theme():
        for name in ("a", "b"):
            theme.save(world.draw("classification"), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").width == int(180 / 25.4 * 300)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in DRAWN_FAST else pytest.mark.slow) for name in ONE_COLUMN]
)
def test_a_figure_for_one_column_is_as_wide_as_a_column_and_no_text_overlaps(world: SmallStudy, name: str) -> None:
    with theme.use_theme():
        figure = world.draw(name, width="single")
        assert collisions(figure) == []
    assert figure.get_size_inches()[0] <= 88 / 25.4 + 0.01


def test_no_text_of_a_figure_overlaps_another_or_leaves_the_page(drawn: Drawn) -> None:
    assert len(drawn.figure.findobj(Text)) > 5 or drawn.name in ONE_SENTENCE
    assert collisions(drawn.figure) == []


def collisions(figure: theme.Page) -> list[tuple[str, ...]]:
    """Texts that lie on each other, and texts that leave the page."""
    figure.canvas.draw()
    hidden = unseen(figure)
    shown = [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in hidden
    ]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown if text.get_rotation() % 90 == 0]
    found: list[tuple[str, ...]] = []
    for (first, box), (second, other) in combinations(boxes, 2):
        both = Bbox.intersection(box, other)
        if both is not None and min(both.width, both.height) >= 1.5:
            found.append((first, second))
    page = figure.bbox.padded(1)
    inside = (page.containsx, page.containsx, page.containsy, page.containsy)
    return found + [
        (text,)
        for text, box in boxes
        if not all(holds(end) for holds, end in zip(inside, (box.x0, box.x1, box.y0, box.y1), strict=True))
    ]


def unseen(figure: theme.Page) -> set[Text]:
    """Labels of ticks beyond the ends of their axis: they exist and are not drawn."""
    found = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        places = [(tick.label1, tick.get_loc()) for tick in axis.get_major_ticks()]
        found |= {label for label, place in places if not low - 1e-9 <= place <= high + 1e-9}
    return found


@pytest.mark.parametrize("name", ["controls", "lesion_size", "classification", "accuracy_faithfulness", "meta"])
def test_below_eight_groups_points_are_hollow_and_the_reason_is_given(few: SmallStudy, name: str) -> None:
    with theme.use_theme():
        figure = few.draw(name)
        said = " ".join(texts(figure))
    faces = {point.face for axes in figure.axes for point in points(axes)}
    assert "an interval needs 8" in said
    assert faces == {"#ffffff"}


def row_of(axes: Axes, name: str) -> int:
    return [label.get_text() for label in axes.get_yticklabels()].index(name)


def test_controls_are_grey_and_methods_are_not(world: SmallStudy) -> None:
    with theme.use_theme():
        axes = world.draw("controls", metrics=("locacc",)).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    colours = {
        name: {point.edge for point in points(axes) if round(point.y) == place} for place, name in enumerate(names)
    }
    assert colours.pop("gradcam") == {colour.lower() for colour in theme.COLOURS[: len(ARCHS)]}
    assert set(colours) == set(CONTROLS)
    assert set().union(*colours.values()) == {theme.GREY}


def test_methods_come_before_controls_and_both_best_first(world: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.read_parquet(world.inputs["estimates"]).query("metric == 'locacc' and by == '' and arch2 == ''")
    means = table.groupby("method")["value"].mean()
    for better, falling in (("higher", True), ("lower", False)):
        monkeypatch.setitem(ABOUT, "better", ABOUT["better"] | {"locacc": better})
        with theme.use_theme():
            axes = world.draw("controls", metrics=("locacc",)).axes[0]
        first, *controls = [label.get_text() for label in axes.get_yticklabels()]
        assert first == "gradcam"
        assert controls == sorted(CONTROLS, key=means.get, reverse=falling)
        assert axes.get_xlabel() == "LocAcc\n" + ("better \u2192" if falling else "\u2190 better")


def test_shuffled_copies_are_a_cross_on_their_method_s_line(world: SmallStudy) -> None:
    table = pd.read_parquet(world.inputs["estimates"])
    wanted = "method == 'shuffled-gradcam' and metric == 'locacc' and stratum == 'all'"
    with theme.use_theme():
        figure = world.draw("controls", metrics=("locacc",))
        said = texts(figure)
    axes = figure.axes[0]
    crosses = {
        (round(y), x)
        for marks in axes.collections
        if isinstance(marks, PathCollection) and marks.get_zorder() == COPIES_MARK["zorder"]
        for x, y in np.asarray(marks.get_offsets()).tolist()
    }
    assert crosses == {(row_of(axes, "gradcam"), value) for value in table.query(wanted)["value"]}
    assert "the same maps, shuffled" in said


def test_twenty_methods_and_their_copies_fit_a_page_and_are_named_by_their_lines(
    world: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_parquet(world.inputs["estimates"])
    own = table[table["method"].isin(["gradcam", "shuffled-gradcam"])]
    several = [own.assign(method=own["method"] + f"-{number}") for number in range(19)]
    parquet.write(tmp_path / "estimates.parquet", pd.concat([table, *several]), parquet.ESTIMATES)
    monkeypatch.setitem(world.inputs, "estimates", str(tmp_path / "estimates.parquet"))
    with theme.use_theme():
        figure = world.draw("controls")
        assert collisions(figure) == []
    assert figure.get_size_inches()[1] < 9
    assert len(figure.axes[0].get_yticklabels()) == 20 + len(CONTROLS)
    (legend,) = figure.legends
    assert "gradcam-7" not in [text.get_text() for text in legend.get_texts()]


def test_a_point_stands_where_the_table_says(world: SmallStudy) -> None:
    table = pd.read_parquet(world.inputs["estimates"])
    row = table.query(
        "arch == 'resnet10t' and method == 'centre' and metric == 'faith' and variant == 'black' and stratum == 'all'"
    ).iloc[0]
    with theme.use_theme():
        axes = world.draw("controls", metrics=("faith",)).axes[0]
    (at,) = [point.y for point in points(axes) if point.x == row["value"]]
    assert round(at) == row_of(axes, "centre")
    assert [[row["low"], at], [row["high"], at]] in intervals(axes)


def test_an_axis_ends_where_the_range_of_its_metric_ends(world: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and intervals outside the range are an error of the table; the intervals are cut, the values are shown."""
    table = pd.DataFrame({"value": [0.02, 0.97], "low": [-0.1, 0.9], "high": [0.1, 1.2]})
    assert theme.axis_range(table, bounds=(0.0, 1.0)) == (0.0, 1.0)
    assert theme.axis_range(table, bounds=(0.0, np.inf))[1] > 1.2
    assert theme.axis_range(table[:1].assign(low=0.01, high=0.03), bounds=(0.0, 1.0)) == pytest.approx((0.0088, 0.0312))
    monkeypatch.setitem(ABOUT, "bounds", {"locacc": (-0.1, 0.5), "randomisation": (-1, 1)})
    with theme.use_theme():
        low, high = world.draw("controls", metrics=("locacc",)).axes[0].get_xlim()
        free = world.draw("controls", metrics=("faith",)).axes[0].get_xlim()
    assert low >= -0.1
    assert high <= 0.5
    assert free[1] > free[0]


@pytest.mark.parametrize("name", ["controls", "lesion_size", "accuracy_faithfulness"])
def test_a_study_s_labels_change_no_panel(
    world: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Two metrics with each other's names as labels: every panel holds what it holds under the usual labels."""
    swapped = {"locacc": "faith", "faith": "locacc"}
    with theme.use_theme():
        usual = world.draw(name)
        for table, schema in (("estimates", parquet.ESTIMATES), ("contrasts", parquet.CONTRASTS)):
            rows = parquet.read(world.inputs[table], schema)
            rows = rows.assign(metric=rows["metric"].astype(str).replace(swapped)).astype(
                {"metric": rows["metric"].dtype}
            )
            parquet.write(tmp_path / table, rows, schema)
            monkeypatch.setitem(world.inputs, table, str(tmp_path / table))
        monkeypatch.setitem(ABOUT, "metrics", swapped)
        renamed = world.draw(name)
    assert sum(len(points(axes)) for axes in usual.axes) > 1
    for axes, other in zip(usual.axes, renamed.axes, strict=True):
        assert points(axes) == points(other)
        assert intervals(axes) == intervals(other)
    said = texts(renamed)
    assert any(text.startswith("locacc") for text in said) is (name != "lesion_size")  # the label of Faith
    assert "LocAcc" not in said


def test_an_interval_wider_than_everything_else_ends_in_an_arrow_and_squeezes_nothing() -> None:
    table = pd.DataFrame({"value": [0.2, 0.4, 0.6], "low": [0.1, -9.0, np.nan], "high": [0.3, 0.5, np.nan]})
    low, high = theme.axis_range(table)
    assert -0.1 < low < 0.1
    assert 0.6 < high < 0.7
    assert theme.any_interval_beyond(table, (low, high))
    assert not theme.any_interval_beyond(table[:1], (low, high))
    with theme.use_theme():
        axes = theme.new_page(2).subplots()
        rows = table.assign(at=range(len(table)), name="net", control=False)
        marks.draw_estimates(axes, rows, marks.Marks({"net": (theme.ACCENT, "o")}, shown=(low, high)))
    arrows = [
        (line.get_marker(), line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.lines
        if line.get_marker() in "<>^v"
    ]
    assert arrows == [("<", low, 1)]


def test_the_audit_of_a_study_that_trains_nothing_says_so_and_draws_no_probe(
    world: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"reason": "this study trained no model on these images", "this": None, "random": [], "groups": []}
    path = tmp_path / "audit.json"
    seen = {"study": "there", "images": 0, "list": []}
    json_file.write(path, AUDIT | {"leakage": nothing, "seen_before": seen})
    monkeypatch.setitem(world.inputs, "audit", str(path))
    with theme.use_theme():
        said = [" ".join(text.split()) for text in texts(world.draw("audit"))]
    assert "random slices" not in said
    assert any(text.startswith("Not measured: this study trained no model") for text in said)
    unseen = "None of the images are, pixel by pixel, among those that trained the models of study there."
    assert any(unseen in text for text in said)


def test_the_audit_says_why_no_shortcut_was_measured(
    world: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undefined = {"status": "undefined", "reason": "a class has a single group"}
    path = tmp_path / "audit.json"
    json_file.write(path, AUDIT | {"shortcuts": {"as the model sees it": {"noise": undefined, "border": undefined}}})
    monkeypatch.setitem(world.inputs, "audit", str(path))
    with theme.use_theme():
        said = [" ".join(text.split()) for text in texts(world.draw("audit"))]
    assert "Not measured: a class has a single group." in said


def test_the_audit_shows_names_with_braces_and_line_breaks(
    world: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = parquet.read(world.inputs["manifest"], parquet.MANIFEST)
    shown = rows["image_id"] == "normal-01-0"
    rows = rows.assign(
        label=rows["label"].astype(str).mask(shown, "{{ 7*7 }} {x}"),
        group=rows["group"].astype(str).mask(shown, "p\n$1$"),
    )
    parquet.write(tmp_path / "manifest", rows.astype(dict(parquet.MANIFEST)), parquet.MANIFEST)
    monkeypatch.setitem(world.inputs, "manifest", str(tmp_path / "manifest"))
    with theme.use_theme():
        said = texts(world.draw("audit"))
    assert "{{ 7*7 }} {x}\nnormal-01-0\np $1$" in said


def test_curves_of_a_forgetting_model_begin_at_one_and_go_where_the_table_says(world: SmallStudy) -> None:
    table = pd.read_parquet(world.inputs["estimates"]).query("metric == 'randomisation' and stratum == 'all'")
    with theme.use_theme():
        figure = world.draw("randomisation")
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == "gradcam"]
    curves = iter([line for line in axes.lines if len(line.get_xdata()) == 3])
    ends = sorted([low[1], high[1]] for low, high in intervals(axes))
    expected: list[list[float]] = []
    for arch in ARCHS:
        for order in ("top_down", "bottom_up"):
            own = table[(table["arch"] == arch) & table["variant"].str.startswith(order)].sort_values("variant")
            curve = next(curves)
            np.testing.assert_allclose(curve.get_xdata(), [0, 0.5, 1], atol=0.1)
            np.testing.assert_allclose(curve.get_ydata(), [1, *own["value"]])
            assert (curve.get_linestyle() == "-") is (order == "top_down")
            expected += own[["low", "high"]].to_numpy().tolist()
    assert (ends, list(curves)) == (sorted(expected), [])
    assert [0, 0] in [list(line.get_ydata()) for line in axes.lines], "a zero line"
    assert axes.get_ylim()[0] >= -1
    assert axes.get_ylim()[1] == 1


def test_confusion_counts_are_those_of_a_slow_count(world: SmallStudy) -> None:
    answers = predictions(manifest())
    own = answers[answers["arch"] == ARCHS[1]]
    pairs = list(zip(own["label"], own["predicted"], strict=True))
    expected = [[pairs.count((true, said)) for said in CLASSES] for true in CLASSES]
    with theme.use_theme():
        figure = world.draw("confusion")
    shown = [text.get_text().split("\n") for text in figure.axes[1].texts]
    assert [int(count) for _, count in shown] == [count for row in expected for count in row]
    assert [share for share, _ in shown] == [f"{100 * count / sum(row):.0f} %" for row in expected for count in row]


def test_panels_show_every_class_and_say_what_is_wrong_or_missing(world: SmallStudy) -> None:
    with theme.use_theme():
        said = texts(world.draw("panels", images=5))
    assert {f"true: {name}" for name in CLASSES} <= set(said)
    assert sum(text.startswith("true: ") for text in said) == 5
    assert said.count("no map:\nit is constant") == len(ARCHS)  # the one normal image, and normal maps are constant


def test_panels_end_with_a_control_that_has_maps(world: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    with theme.use_theme():
        assert "control:\nlime" not in texts(world.draw("panels", images=3))
        monkeypatch.setitem(ABOUT, "controls", [*CONTROLS, "lime"])
        figure = world.draw("panels", images=3)
        titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
        assert collisions(figure) == []
    assert titles == ["image", *ARCHS, "control:\nlime"]
    assert "3 images of 3 patients" in figure.get_supxlabel()


def test_typical_images_are_nearest_to_the_median_and_of_different_groups() -> None:
    about = manifest()
    answers = predictions(about).query("seed == 0")
    raw = scores(about, predictions(about))
    chosen = image_examples.choose_images(answers, raw, PRIMARY, CLASSES, count=7)
    assert [image.split("-")[0] for image in chosen] == ["normal"] * 2 + ["benign"] * 2 + ["malignant"] * 3
    assert len({image.rsplit("-", 1)[0] for image in chosen}) == 7
    own = (
        raw.query("method == 'gradcam' and metric == 'saliency_score' and seed == 0 and label == 'benign'")
        .groupby("image_id")["value"]
        .mean()
    )
    assert next(image for image in chosen if image.startswith("benign")) == (own - own.median()).abs().idxmin()


def test_random_images_do_not_depend_on_the_order_of_the_table() -> None:
    about = manifest()
    answers, raw = predictions(about).query("seed == 0"), scores(about, predictions(about))
    first = image_examples.choose_images(answers, raw, PRIMARY, CLASSES, count=6, choice="random")
    assert first == image_examples.choose_images(answers[::-1], raw[::-1], PRIMARY, CLASSES, count=6, choice="random")
    assert first != image_examples.choose_images(answers, raw, PRIMARY, CLASSES, count=6)


def test_the_first_imputer_and_all_pairs_are_primary() -> None:
    table = pd.DataFrame(
        {"metric": ["faith", "faith", "consist", "consist"], "variant": ["blur", "black", "reference", "pairs"]}
    )
    assert metric_rows.primary_variant(table, "faith") == "blur"
    assert metric_rows.primary_variant(table, "consist") == "pairs"


def test_strata_are_labelled_with_their_own_bounds() -> None:
    about = manifest()
    labels = registry.load("figures", "lesion_size").stratum_labels(about, about[["image_id"]])
    sizes = np.sort(about.loc[about["lesion_px"] > 0, "lesion_px"].to_numpy())
    assert labels[0].startswith(f"small\n{sizes[0]}")
    assert f"{sizes[-1]} px" in labels[2]
    assert sum(int(label.split("\n")[2].split()[0]) for label in labels) == len(sizes)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("of_table", [False, True])
@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in ("figures", "tables") for name in registry.names(group)]
)
def test_every_figure_and_table_has_a_caption_that_renders(group: str, name: str, of_table: bool) -> None:
    text = (registry.PACKAGE.parents[0] / "report" / group / f"{name}.rst").read_text()
    options = {key: option.default for key, option in registry.entry(group, name).options.items()}
    about = ABOUT | {"of_table": of_table}
    params = report_texts({"about": about, "settings": {"use": name, "options": options}})
    plain = Environment(undefined=StrictUndefined).from_string(text).render(snakemake={"params": params})
    body = publish_parts(plain, writer_name="html", settings_overrides={"report_level": 1, "halt_level": 2})["body"]
    assert "a phantom" in body
    assert "{" not in body
