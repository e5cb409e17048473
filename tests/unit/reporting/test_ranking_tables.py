"""The tables and figures of the paper on ranking by pixel-level evidence: what they print is what the scores and cards hold."""

import numpy as np
import pandas as pd
import pytest
from drawn_panels import calls_of_seaborn, points
from small_study import ARCHS, SmallStudy
from test_maps_table import pipes
from typed import described
from winrate_tables import TABLE, score_rows

from gradfaith.reporting.figures import theme, topk
from gradfaith.reporting.figures import win_rates as drawn_win_rates
from gradfaith.reporting.figures.contract import FigureInputs
from gradfaith.reporting.tables import contract, losses, win_rates

METHODS = ["gradcam", "saliency", "integrated_gradients"]
ABOUT = {
    "title": "hazelnuts", "classes": ["crack", "good", "hole"], "architectures": ["net"], "controls": ["centre"],
    "primary": {"metric": "overlap"}, "metrics": {"overlap": "topk_overlap", "iou": "tko_literature", "more": "locacc"},
    "better": dict.fromkeys(("overlap", "iou", "more"), "higher"), "ranks": {"rank_controls": "beside", "rank_only_correct": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return SmallStudy(tmp_path_factory.mktemp("ranking"))


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    frames = [
        score_rows(values, [*METHODS, "centre"], metric, part=part, seed=seed, **columns)  # type: ignore[arg-type]
        for metric in ("overlap", "iou", "more")
        for part in ("train", "test")
        for seed, values in ((0, TABLE[:, [0, 1, 2, 2]]), (1, TABLE[:, [1, 0, 2, 2]]))
        for columns in ({"correct": np.arange(16) < 12},)
    ]
    good = [
        score_rows(np.full((2, 4), value), [*METHODS, "centre"], metric, part="train", label="good")  # type: ignore[arg-type]
        for metric, value in (("overlap", np.nan), ("iou", 0.0))  # tko_literature gives an empty mask 0
    ]
    sound = pd.concat(good).assign(image_id=lambda rows: "good" + rows["image_id"])
    return pd.concat([*frames, sound], ignore_index=True)


@pytest.fixture(scope="module")
def sheet(scores: pd.DataFrame) -> contract.Sheet:
    return win_rates.tabulate({"scores": scores}, described(ABOUT))


def test_a_row_of_win_rates_has_mean_and_deviation_and_adds_up_to_one(sheet: contract.Sheet) -> None:
    """Three of four images count; by hand: A wins 1 + 1/2 + 1/3 of them with seed 0, B with seed 1."""
    lines = pipes(contract.markdown(sheet), sheet.blocks[0].caption)
    rates = (11 / 6 / 3, (1 / 2 + 1 / 3) / 3)
    mean, sd = np.mean(rates), np.std(rates)
    assert sheet.blocks[0].caption.endswith(" on the training images")
    assert lines[0]["gradcam"].split("<")[0] == lines[0]["saliency"].split("<")[0] == f"{mean:.3f} \u00b1 {sd:.3f}"
    for line in lines:
        assert sum(float(line[method].split()[0]) for method in METHODS) == pytest.approx(1, abs=2e-3)
    assert [line["class"] for line in lines] == ["overall", "crack", "hole"]
    assert lines[0]["contests"] == "6"
    assert lines[0]["ties of each method"] == "4 / 4 / 2"


def test_parts_and_top_k_metrics_have_tables_and_other_metrics_and_controls_do_not(sheet: contract.Sheet) -> None:
    assert [block.caption.partition(" on ")[2] for block in sheet.blocks] == [
        "the training images",
        "the test images",
    ] * 2
    assert set(sheet.data["metric"]) == {"overlap", "iou"}
    assert "centre" not in set(sheet.data["method"])
    assert "good" not in set(sheet.data["stratum"]), "an image without evidence is no contest, and no tie"
    assert "Only images that the model classifies correctly count." in sheet.lead[0]


def test_the_figure_shows_the_rates_of_the_table_and_those_of_every_seed(
    scores: pd.DataFrame, sheet: contract.Sheet
) -> None:
    about = described(ABOUT)
    names = ("title", "classes", "architectures", "controls", "primary", "metrics", "better", "level")
    given = {name: getattr(about, name) for name in names}
    tables = {"scores": scores, "manifest": pd.DataFrame({"group_kind": ["photograph"]})}
    with theme.use_theme(), calls_of_seaborn() as called:
        page = drawn_win_rates.draw(FigureInputs(**given, seeds=[0, 1], min_groups=8, tables=tables))
    assert "scatterplot" in called
    assert [axes.get_title(loc="left") for axes in page.axes] == ["net, training images", "net, test images"]
    rates = sheet.data[(sheet.data["metric"] == "overlap") & (sheet.data["part"] == "train")]
    drawn = [point.y for point in points(page.axes[0])]
    assert sorted(drawn) == pytest.approx(sorted(rates["value"]))
    of_seeds = [value for line in page.axes[0].lines if line.get_marker() == "." for value in line.get_ydata()]
    assert sorted(of_seeds) == pytest.approx(
        sorted(float(one) for text in rates["seed_values"] for one in text.split())
    )


def card_rows(weight: float) -> pd.DataFrame:
    rows = [
        {"arch": "net", "seed": seed, "weight": weight, "loss": "mse", "target": "mask", "width": 16, "part": part, "images": 9,
         "class_loss": 0.2 + 0.1 * seed, "decoder_loss": 0.01 if weight else None, "total_loss": 0.21 + 0.1 * seed,
         "balanced_accuracy": 0.9 + 0.05 * seed}
        for seed in (0, 1)
        for part in ("train", "test")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_losses_are_mean_and_deviation_over_seeds() -> None:
    lines = pipes(
        contract.markdown(losses.tabulate({"cards": card_rows(1)}, described(ABOUT))),
        "net: decoder with weight 1, mean squared error to the mask of the evidence",
    )
    assert [line["part"] for line in lines] == ["train", "test"]
    assert lines[0]["cross-entropy"] == "0.2500 \u00b1 0.0500"
    assert lines[0]["decoder's loss"] == "0.0100 \u00b1 0.0000"
    assert lines[1]["balanced accuracy"] == "0.9250 \u00b1 0.0250"


def test_a_decoder_that_is_not_trained_has_no_loss() -> None:
    text = contract.markdown(losses.tabulate({"cards": card_rows(0)}, described(ABOUT)))
    assert pipes(text, "net: decoder not trained (weight 0)")[0]["decoder's loss"] == "-"


def test_tied_pixels_share_the_last_places() -> None:
    unit = np.array([[0.9, 0.5, 0.5], [0.5, 0.1, 0.0]], dtype=np.float32)
    assert topk.top_pixels(unit, 2) == pytest.approx(np.array([[1, 1 / 3, 1 / 3], [1 / 3, 0, 0]]))
    assert topk.top_pixels(unit, 2).sum() == pytest.approx(2)
    assert not topk.top_pixels(unit, 0).any()


def test_a_ranking_names_ties() -> None:
    scores = pd.Series({"a": 0.2, "b": 0.5, "c": 0.2, "d": np.nan})
    assert topk.ranking_text(scores) == "b\n> a\n= c"
    assert topk.ranking_text(pd.Series({"a": np.nan})) == "no ranking"


def test_the_figure_of_the_highest_pixels_shows_correct_images_with_evidence(study: SmallStudy) -> None:
    with theme.use_theme():
        page = study.draw("topk", images=3)
    labels = [axes.get_xlabel() for axes in page.axes if "K = " in axes.get_xlabel()]
    assert len(labels) == 3
    assert {label.split("true: ")[1].split("\n")[0] for label in labels} == {"benign", "malignant"}, (
        "normal has no evidence"
    )
    for label in labels:
        predicted, true = label.split("\n")[0].split(", true: ")
        assert predicted.split()[0] == true
    assert [axes.get_title(loc="center") for axes in page.axes[:2]] == ["image", "gradcam"]


def test_the_curves_of_the_losses_are_means_over_seeds(study: SmallStudy) -> None:
    with theme.use_theme():
        page = study.draw("losses")
    total = page.axes[0]
    histories = [pd.read_csv(path) for path in study.inputs["histories"][:2]]  # type: ignore[index]
    expected = np.mean([history["val_loss"] for history in histories], axis=0)
    assert list(total.lines[1].get_ydata()) == pytest.approx(list(expected))
    assert total.get_title(loc="left") == ARCHS[0]
    assert len(page.axes[2].lines) == 2
    assert not page.axes[6].lines, "the second network has no decoder"
    assert list(page.axes[5].lines[0].get_ydata()) == list(page.axes[4].lines[0].get_ydata())
