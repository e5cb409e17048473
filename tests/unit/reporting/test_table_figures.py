"""The eight figures of a study of tables: what they draw is read back and compared with a table that was made by hand."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from typed import primary_contrast

from gradfaith import registry
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.beeswarm import LOW_HIGH
from gradfaith.reporting.figures.contract import FigureInputs
from gradfaith.reporting.figures.prediction_panel import share_text

ROWS, ARCHS, SEEDS = 12, ["linear", "trees"], [0, 1, 2]
FEATURES = ("age", "sex", "noise")
IDS = [f"row-{number:02d}" for number in range(ROWS)]
AGE = np.linspace(20.0, 75.0, ROWS)
SEX = np.arange(ROWS) % 2.0
NOISE = np.tile([3.0, 1.0, 2.0], 4)
SIGN = 2 * SEX - 1
VALUES = np.stack([AGE, SEX, NOISE], axis=1)
NUMBERS = np.stack([SIGN * (AGE - 47.5) / 10, 0.5 * SIGN, 0.01 * (NOISE - 2)], axis=1)  # age counts by sex
BASE = 0.25
ANSWERS = BASE + NUMBERS.sum(axis=1)
HIGHEST, LOWEST = int(ANSWERS.argmax()), int(ANSWERS.argmin())
SCALE = {
    "kernel_shap": 1.0,
    "lime": 0.5,
    "random": -1.0,
    "shuffled-lime": 1.0,
}  # method -> its numbers are so many times NUMBERS
GRID = np.linspace(-1, 1, 5)


def columns(start: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {start + name: values[:, place] for place, name in enumerate(FEATURES)}


def attributions() -> pd.DataFrame:
    """Models of later seeds and second runs have ten times the numbers, so a figure that mixed them would differ."""
    tables = []
    for arch in ARCHS:
        for seed in SEEDS:
            for method, scale in SCALE.items():
                for repeat in (0, 1):
                    own = NUMBERS * scale * (1 if seed == repeat == 0 else 10)
                    keys = {"arch": arch, "seed": seed, "method": method, "copy": 0, "repeat": repeat, "image_id": IDS}
                    tables.append(
                        pd.DataFrame({**keys, "answer": BASE + own.sum(axis=1), "base": BASE, **columns("x:", own)})
                    )
    return pd.concat(tables, ignore_index=True)


def boundary() -> pd.DataFrame:
    x, y = (side.ravel() for side in np.meshgrid(GRID, GRID))
    found = [
        pd.DataFrame(
            {"arch": arch, "seed": seed, "first": "age", "second": "noise", "x": x, "y": y, "answer": x - y + seed}
        )
        for arch in ARCHS
        for seed in SEEDS
    ]
    return pd.concat(found, ignore_index=True)


def predictions() -> pd.DataFrame:
    positive = 1 / (1 + np.exp(-ANSWERS))
    shares = {"probability_negative": 1 - positive, "probability_positive": positive, "raw": ANSWERS}
    return pd.concat(
        [pd.DataFrame({"arch": arch, "seed": seed, "image_id": IDS, **shares}) for arch in ARCHS for seed in SEEDS]
    )


def inputs(**tables: pd.DataFrame) -> FigureInputs:
    found = {"name": FEATURES, "categories": ((), ("female", "male"), ())}
    audit = {
        "positive": "ill",
        "columns": [dict(zip(found, pair, strict=True)) for pair in zip(*found.values(), strict=True)],
    }
    truth = np.stack([np.abs(NUMBERS[:, 0]), np.abs(NUMBERS[:, 1]), 0 * NOISE], axis=1)
    target = (ANSWERS > 0).astype(float)
    table = pd.DataFrame({"image_id": IDS, "target": target, **columns("x:", VALUES), **columns("t:", truth)})
    given: Mapping[str, pd.DataFrame] = {
        "attributions": attributions(), "table": table, "boundary": boundary(), "predictions": predictions(),
        "splits": pd.DataFrame({"image_id": IDS, "part": ["test"] * 8 + ["train"] * 4}),
        "manifest": pd.DataFrame({"image_id": IDS, "group": IDS, "group_kind": "group"}),
    }  # fmt: skip
    primary = primary_contrast({"metric": "removal_gap", "method": "kernel_shap", "against": "random"})
    return FigureInputs("small", ["negative", "positive"], ARCHS, SEEDS, ["random"], primary, {}, 0.95, 8,
                        tables={**given, **tables}, audit=audit)  # fmt: skip


def draw(name: str, on: FigureInputs | None = None, **options: object) -> theme.Page:
    defaults = {key: option.default for key, option in registry.entry("figures", name).options.items()}
    with theme.use_theme():
        figure: theme.Page = registry.load("figures", name).draw(on or inputs(), **(defaults | options))
        figure.draw_without_rendering()
    return figure


def words(figure: theme.Page) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def bars(axes: Axes) -> list[float]:
    """Return the signed widths of a panel's bars, from the first line down."""
    return [float(bar.get_width()) for bar in axes.patches]


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def dots(axes: Axes) -> PathCollection:
    return next(marks for marks in axes.collections if isinstance(marks, PathCollection))


def test_the_panel_shows_the_model_s_probabilities_the_values_and_the_contributions() -> None:
    figure = draw("prediction_panel")
    probability, values, contributions = figure.axes[:3]
    positive = 1 / (1 + np.exp(-ANSWERS[HIGHEST]))
    assert bars(probability) == pytest.approx([1 - positive, positive])
    assert probability.get_xlim() == (0, 1)
    assert labels(probability) == ["not ill", "ill"]
    assert probability.get_title("left") == IDS[HIGHEST]
    assert figure.axes[3].get_title("left") == IDS[LOWEST]
    sex = ("female", "male")[int(SEX[HIGHEST])]
    assert [text.get_text() for text in values.texts] == [
        "age",
        f"{AGE[HIGHEST]:.6g}",
        "sex",
        sex,
        "noise",
        f"{NOISE[HIGHEST]:.6g}",
    ]
    assert bars(contributions) == pytest.approx(list(0.5 * NUMBERS[HIGHEST]))
    colours = [to_hex(bar.get_facecolor()) for bar in contributions.patches]
    assert colours == [(theme.RAISES if value > 0 else theme.LOWERS).lower() for value in NUMBERS[HIGHEST]]
    assert contributions.get_xlabel() == "contribution by lime"


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "0 %"), (0.004, "< 1 %"), (0.38, "38 %"), (0.997, "> 99 %"), (1.0, "100 %")]
)
def test_a_share_that_is_not_certain_is_not_written_as_certain(share: float, said: str) -> None:
    assert share_text(share) == said


def test_contribution_bars_show_every_method_in_one_order_and_no_shuffled_copy() -> None:
    figure = draw("contribution_bars", row="lowest")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title("left") for axes in panels] == ["kernel_shap", "lime", "random"]
    order = np.argsort(-np.abs(NUMBERS[LOWEST]), kind="stable")
    assert order.tolist() == [0, 1, 2]
    for axes in panels[:2]:
        assert bars(axes) == pytest.approx(list(SCALE[axes.get_title("left")] * NUMBERS[LOWEST][order]))
    assert labels(panels[0])[0] == f"age = {AGE[LOWEST]:.6g}"
    titles = {axes.get_title("left"): to_hex(axes._left_title.get_color()) for axes in panels}
    assert titles["random"] == theme.GREY
    assert titles["lime"] == theme.INK


def test_the_waterfall_leads_from_the_mean_answer_to_the_answer() -> None:
    figure = draw("waterfall")
    axes = figure.axes[0]
    order = np.argsort(np.abs(NUMBERS[HIGHEST]), kind="stable")
    starts, widths = [float(bar.get_x()) for bar in axes.patches], bars(axes)
    assert widths == pytest.approx(list(NUMBERS[HIGHEST][order]))
    assert starts[0] == pytest.approx(BASE)
    assert [start + width for start, width in zip(starts, widths, strict=True)][:-1] == pytest.approx(starts[1:])
    assert starts[-1] + widths[-1] == pytest.approx(ANSWERS[HIGHEST])
    heights = [bar.get_y() for bar in axes.patches]
    assert heights == sorted(heights), "the mean answer is at the bottom, and the largest step at the top"
    assert axes.get_title("left") == f"linear: from {BASE:.2f} to {ANSWERS[HIGHEST]:.2f}"
    assert axes.get_xlim()[0] < min(starts), "no bar is cut"
    assert f"{IDS[HIGHEST]} on linear" in figure.get_supxlabel()
    assert axes.get_xlabel() == "score of ill"


def test_both_sides_of_the_force_plot_meet_at_the_answer() -> None:
    figure = draw("force")
    for axes, row in zip(
        figure.axes, (HIGHEST, int(np.argsort(ANSWERS, kind="stable")[ROWS // 2]), LOWEST), strict=True
    ):
        ends = {"raises": [], "lowers": []}
        for bar in axes.patches:
            side = "raises" if to_hex(bar.get_facecolor()) == theme.RAISES.lower() else "lowers"
            ends[side] += [bar.get_x(), bar.get_x() + bar.get_width()]
        lengths = sum(abs(width) for width in bars(axes))
        assert lengths == pytest.approx(np.abs(NUMBERS[row]).sum())
        if ends["raises"]:
            assert max(ends["raises"]) == pytest.approx(ANSWERS[row])
        if ends["lowers"]:
            assert min(ends["lowers"]) == pytest.approx(ANSWERS[row])
        assert axes.get_title("left") == f"{IDS[row]}: answer {ANSWERS[row]:.2f}, mean answer {BASE:.2f}"


def test_names_that_do_not_fit_their_piece_are_left_out_of_the_force_plot() -> None:
    figure = draw("force")
    axes = figure.axes[0]
    named = {text.get_text().split("\n")[0]: text for text in axes.texts}
    assert "age" in named
    assert "noise" not in named, "its piece is a hundredth of the line"
    boxes = [text.get_window_extent() for text in named.values()]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_the_beeswarm_has_a_point_per_row_and_feature_coloured_by_the_value() -> None:
    figure = draw("beeswarm")
    axes = figure.axes[0]
    assert labels(axes) == ["age", "sex", "noise"]
    assert axes.get_ylim() == (2.5, -0.6)
    swarms = [marks for marks in axes.collections if isinstance(marks, PathCollection)]
    for place, swarm in enumerate(swarms):
        x, y = np.asarray(swarm.get_offsets()).T
        assert x == pytest.approx(NUMBERS[:, place])
        assert np.abs(y - place).max() < 0.5, "no point is on another feature's line"
    oldest, youngest = (swarms[0].get_facecolors()[row] for row in (ROWS - 1, 0))
    assert (to_hex(oldest), to_hex(youngest)) == (to_hex(LOW_HIGH(1.0)), to_hex(LOW_HIGH(0.0)))
    of_sex = {
        value: {to_hex(swarms[1].get_facecolors()[row]) for row in range(ROWS) if SEX[row] == value} for value in (0, 1)
    }
    assert of_sex == {0: {to_hex(LOW_HIGH(0.0))}, 1: {to_hex(LOW_HIGH(1.0))}}, "equal values have one colour"


def test_mean_bars_have_the_mean_share_its_interval_and_the_planted_share() -> None:
    figure = draw("mean_bars", methods=("kernel_shap",))
    axes = figure.axes[0]
    shares = (np.abs(NUMBERS) / np.abs(NUMBERS).sum(axis=1, keepdims=True)).mean(
        axis=0
    )  # ten times the numbers: the same
    points = next(marks for marks in axes.collections if isinstance(marks, PathCollection))
    x, y = np.asarray(points.get_offsets()).T
    assert sorted(x) == pytest.approx(sorted([*shares, *shares]), abs=1e-9)
    assert labels(axes) == ["age", "sex", "noise"]
    assert x[np.argsort(y)][:2] == pytest.approx([shares[0]] * 2)
    used = np.abs(NUMBERS[:, :2])
    planted = np.append((used / used.sum(axis=1, keepdims=True)).mean(axis=0), 0.0)
    ticks = [line for marks in axes.collections if hasattr(marks, "get_segments") for line in marks.get_segments()]
    upright = sorted(segment[0][0] for segment in ticks if segment[0][0] == segment[1][0])
    assert upright == pytest.approx(sorted(planted), abs=1e-9)
    flat = [segment for segment in ticks if segment[0][1] == segment[1][1]]
    assert len(flat) == 2 * len(FEATURES)
    assert all(0 <= segment[0][0] < segment[1][0] <= 1 for segment in flat)


def test_dependence_finds_the_feature_that_sorts_the_points() -> None:
    figure = draw("dependence")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("age", "attribution of age")
    x, y = np.asarray(dots(axes).get_offsets()).T
    assert x == pytest.approx(AGE)
    assert y == pytest.approx(NUMBERS[:, 0])
    assert np.asarray(dots(axes).get_array()) == pytest.approx(SEX), "sex turns the sign of age, so it is the second"
    named = draw("dependence", features=("noise by age",))
    assert np.asarray(dots(named.axes[0]).get_array()) == pytest.approx(AGE)
    assert "names two features" in " ".join(words(draw("dependence", features=("nose by age",))))


def test_the_boundary_is_where_the_first_seed_s_answer_is_zero() -> None:
    figure = draw("boundary")
    axes = figure.axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 1), (-1, 1))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("age", "noise")
    (line,) = [marks for marks in axes.collections if type(marks).__name__ == "QuadContourSet"]
    ends = np.concatenate([path.vertices for path in line.get_paths()])
    assert ends[:, 0] == pytest.approx(ends[:, 1], abs=1e-9), "x - y is zero there; the later seeds are elsewhere"
    points = np.asarray(dots(axes).get_offsets())
    assert points[:, 0] == pytest.approx(AGE[:8]), "test rows only"
    colours = [to_hex(colour) for colour in dots(axes).get_facecolors()]
    assert colours == [(theme.RAISES if answer > 0 else theme.LOWERS).lower() for answer in ANSWERS[:8]]
    empty = draw("boundary", inputs(boundary=boundary()[:0]))
    assert "fewer than two numeric features" in " ".join(words(empty))


@pytest.mark.parametrize("name", ["prediction_panel", "waterfall", "force", "beeswarm", "dependence", "mean_bars"])
def test_a_method_that_the_study_does_not_have_is_a_sentence(name: str) -> None:
    option = {"methods": ("tree_shap",)} if name == "mean_bars" else {"method": "tree_shap"}
    figure = draw(name, **option)
    assert not figure.axes
    assert "tree_shap" in " ".join(words(figure))
