"""The curves of every training: what is drawn is what the histories hold, and the selected epoch is marked."""

from pathlib import Path

import pandas as pd
import pytest
from small_study import ARCHS, SEEDS, SmallStudy

from gradfaith.reporting.figures import theme


@pytest.fixture(scope="module")
def figure(tmp_path_factory: pytest.TempPathFactory) -> tuple[theme.Page, SmallStudy]:
    study = SmallStudy(tmp_path_factory.mktemp("training"))
    with theme.use_theme():
        return study.draw("training"), study


def test_every_model_has_its_losses_and_its_accuracy(figure: tuple[theme.Page, SmallStudy]) -> None:
    page, study = figure
    histories = iter(study.inputs["histories"])
    for loss, accuracy in zip(page.axes[::2], page.axes[1::2], strict=True):
        lines = [line for line in loss.lines if line.get_marker() != "o"]
        assert len(lines) == 2 * len(SEEDS)
        for seed in range(len(SEEDS)):
            written = pd.read_csv(next(histories))
            colour = theme.COLOURS[seed]
            own = {line.get_linestyle(): line.get_ydata() for line in lines if line.get_color() == colour}
            assert list(own["--"]) == pytest.approx(list(written["train_loss"]))
            assert list(own["-"]) == pytest.approx(list(written["val_loss"]))
            (drawn,) = [line for line in accuracy.lines if line.get_color() == colour and line.get_marker() != "o"]
            assert list(drawn.get_ydata()) == pytest.approx(list(written["val_balanced_accuracy"]))
    assert [axes.get_title(loc="left") for axes in page.axes[::2]] == ARCHS


def test_a_circle_marks_the_epoch_that_the_card_names(figure: tuple[theme.Page, SmallStudy]) -> None:
    for axes in figure[0].axes:
        circles = [line for line in axes.lines if line.get_marker() == "o"]
        assert len(circles) == len(SEEDS)
        assert {float(line.get_xdata()[0]) for line in circles} == {5.0}


def test_a_history_finds_its_card_by_the_folder_and_not_by_its_place(tmp_path: Path) -> None:
    study = SmallStudy(tmp_path)
    study.inputs["cards"] = list(reversed(study.inputs["cards"]))
    with theme.use_theme():
        page = study.draw("training")
    first = pd.read_csv(study.inputs["histories"][0])
    line = next(
        line for line in page.axes[0].lines if line.get_linestyle() == "-" and line.get_color() == theme.COLOURS[0]
    )
    assert list(line.get_ydata()) == pytest.approx(list(first["val_loss"]))


def test_a_study_that_trains_nothing_says_so(tmp_path: Path) -> None:
    study = SmallStudy(tmp_path)
    for path in study.inputs["histories"]:
        pd.read_csv(path)[:0].to_csv(path, index=False)
    with theme.use_theme():
        page = study.draw("training")
    assert [text.get_text() for text in page.texts] == [
        "The study takes the weights of its models as they are and trains none."
    ]
