"""The figures of judged metrics and of removal curves say what their tables say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_meta
from drawn_panels import points
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Rectangle
from small_study import ABOUT, ARCHS, SmallStudy

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import curves, theme
from gradfaith.stats.estimates import mean_curves
from gradfaith.storage import parquet, table_parts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return SmallStudy(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def table(world: SmallStudy) -> pd.DataFrame:
    return pd.read_parquet(world.inputs["meta"])


@pytest.fixture(scope="module")
def judged(world: SmallStudy) -> theme.Page:
    with theme.use_theme():
        return world.draw("meta")


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_a_metric_s_points_stand_where_the_table_says(judged: theme.Page, table: pd.DataFrame) -> None:
    axes = judged.axes[0]
    place = labels(axes).index("Deletion (noisy_linear)")
    own = table.query(
        "arch == '' and truth == 'saliency_score' and metric == 'deletion' and variant == 'noisy_linear' and measure == 'spearman'"
    )
    expected = [
        own.query("view == @view and who == @who")["value"].iloc[0]
        for view, who in (("image", "methods"), ("cells", "methods"), ("image", "together"))
    ]
    found = sorted((point.y, point.x) for point in points(axes) if abs(point.y - place) < 0.4)
    assert [x for _, x in found] == pytest.approx(expected)


def test_metrics_are_ordered_by_how_they_rank_and_the_truth_comes_last(judged: theme.Page, table: pd.DataFrame) -> None:
    columns = metric_rows.metrics_by_rank_agreement(table, "saliency_score")
    assert labels(judged.axes[0]) == [
        metric_rows.display_name(metric) + (f" ({variant})" if variant else "") for metric, variant in columns
    ]
    assert columns[-1] == ("saliency_score", "")
    assert ("road", "black") in metric_rows.metrics_by_rank_agreement(table, "saliency_score", primary=False)


def test_a_fooled_metric_is_framed_and_no_other(judged: theme.Page) -> None:
    axes = judged.axes[1]
    names = [label.get_text() for label in axes.get_xticklabels()]
    frames = {(int(p.get_x()), int(p.get_y())) for p in axes.patches if isinstance(p, Rectangle)}
    assert frames == {(names.index("uniform"), labels(judged.axes[0]).index("Average drop (black)"))}
    shares = axes.collections[0].get_array()
    assert shares[labels(judged.axes[0]).index("Average drop (black)"), names.index("uniform")] == 1


def test_another_truth_and_one_architecture_may_be_drawn(world: SmallStudy, table: pd.DataFrame) -> None:
    with theme.use_theme():
        axes = world.draw("meta", truth="cosine", arch=ARCHS[0], coefficient="pearson").axes[0]
    assert axes.get_xlabel() == "Pearson with Cosine\nbetter \u2192"
    row = table.query(
        "arch == @ARCHS[0] and truth == 'cosine' and view == 'image' and who == 'methods' and measure == 'pearson' and metric == 'saliency_score'"
    ).iloc[0]
    assert row["value"] in [point.x for point in points(axes)]


# removal curves
def test_mean_curves_are_means_and_their_intervals_those_of_any_estimate() -> None:
    images = pd.DataFrame({"image_id": list("abcd"), "group": ["g", "g", "h", "i"], "label": "x"})
    points = small_meta.curves(images, ["net"], [0])
    found = mean_curves([points])
    row = found.query("method == 'gradcam' and imputer == 'black' and order == 'least' and fraction == 0.5").iloc[0]
    own = points.query("method == 'gradcam' and imputer == 'black' and order == 'least' and fraction == 0.5")
    assert row["value"] == pytest.approx(own["probability"].mean())
    assert (row["n_images"], row["n_groups"], row["reason"]) == (4, 3, "3 groups, an interval needs 8")


def test_a_curve_and_its_band_go_where_the_means_go(world: SmallStudy) -> None:
    points = pd.read_parquet(world.inputs["curves"])
    means = mean_curves([points[points["imputer"] == "black"]])
    with theme.use_theme():
        figure = world.draw("curves", imputer="black", methods=("gradcam", "saliency"), control="centre")
    panels = iter(figure.axes)
    for arch in ARCHS:
        for order in ("most", "least"):
            axes, here = next(panels), means[(means["arch"] == arch) & (means["order"] == order)]
            for line, method in zip(axes.lines, ("gradcam", "saliency", "centre"), strict=True):
                own = here[here["method"] == method]
                np.testing.assert_allclose(line.get_ydata(), own["value"])
                np.testing.assert_allclose(line.get_xdata(), own["fraction"])
                assert (line.get_color() == theme.GREY) == (method == "centre")
            bands = [band for band in axes.collections if isinstance(band, PolyCollection)]
            reach = bands[0].get_paths()[0].get_extents()
            own = here[here["method"] == "gradcam"]
            assert (reach.y0, reach.y1) == pytest.approx((own["low"].min(), own["high"].max()))


def test_only_the_test_part_is_drawn_and_few_curves_are_in_memory_at_once(
    world: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images of another part and a second imputer are not read; every part has the rows of one method at most."""
    points = parquet.read(world.inputs["curves"], parquet.CURVES)
    parquet.write(
        tmp_path / "curves.parquet", pd.concat([points, points.assign(part="val", probability=0.0)]), parquet.CURVES
    )
    monkeypatch.setattr(table_parts, "ROWS_OF_A_PART", 1)
    read: list[pd.DataFrame] = []
    join = table_parts.TableParts._join
    monkeypatch.setattr(table_parts.TableParts, "_join", lambda *given: read.append(join(*given)) or read[-1])
    lines = []
    for path in (world.inputs["curves"], str(tmp_path / "curves.parquet")):
        monkeypatch.setitem(world.inputs, "curves", path)
        with theme.use_theme():
            lines.append(
                [line.get_ydata() for axes in world.draw("curves", imputer="black").axes for line in axes.lines]
            )
    for one, other in zip(*lines, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert {tuple(part["imputer"].unique()) for part in read} == {("black",)}
    assert max(part.groupby(["arch", "method"], observed=True).ngroups for part in read) == 1


def test_every_method_and_one_control_unless_told(world: SmallStudy) -> None:
    with theme.use_theme():
        figure = world.draw("curves")
    assert len(figure.axes[0].lines) == len(small_meta.METHODS) + 1
    assert figure.axes[-1].get_xlabel() == "Pixels removed (noisy_linear)"


def test_a_study_without_curves_draws_none_and_says_so(
    world: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.write(tmp_path / "curves.parquet", parquet.empty(parquet.CURVES), parquet.CURVES)
    monkeypatch.setitem(world.inputs, "curves", str(tmp_path / "curves.parquet"))
    with theme.use_theme():
        figure = world.draw("curves")
    assert not figure.axes
    assert [text.get_text() for text in figure.texts] == [curves.NO_CURVE]


def test_of_many_methods_those_with_the_widest_gap_are_in_colour_in_the_study_s_order() -> None:
    gaps = {f"m{number}": gap for number, gap in enumerate((0.1, 0.9, 0.2, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3))}
    rows = [(name, "most", 0.0) for name in gaps] + [(name, "least", gap) for name, gap in gaps.items()]
    table = pd.DataFrame(rows, columns=["method", "order", "value"])
    assert curves.methods_in_colour(table, list(gaps)) == ["m1", "m3", "m4", "m5", "m6", "m7", "m8"]
    assert curves.methods_in_colour(table, ["m0", "m2"]) == ["m0", "m2"]


def test_too_few_groups_leave_lines_without_bands_and_say_why(tmp_path: Path) -> None:
    with theme.use_theme():
        figure = SmallStudy(tmp_path, groups=2).draw("curves")
    assert not [band for axes in figure.axes for band in axes.collections]
    said = figure._supxlabel.get_text()
    assert f"an interval needs {ABOUT['min_groups']}" in said
