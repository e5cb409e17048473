"""On a model that answers only from a known window the true map wins where it must; and docs/metrics-planted.md says what happens elsewhere."""

import re
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from small_images import ROOT

from gradfaith import registry

pytestmark = pytest.mark.xdist_group("planted")  # its verdicts take a minute and are made once

DOCS = ROOT / "docs"
MUST = ("road", "deletion", "insertion", "faith, gain over shuffled")
MARGIN = 0.1  # the best control is at least so far behind, of scores between 0 and 1
NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def pages() -> Any:
    """docs/planted.py and docs/metrics_planted.py, imported from where they lie."""
    sys.path.insert(0, str(DOCS))
    try:
        import metrics_planted
        import planted

        yield planted, metrics_planted
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def planted(pages: tuple[ModuleType, ModuleType]) -> ModuleType:
    return pages[0]


@pytest.fixture(scope="module")
def verdicts(pages: tuple[ModuleType, ModuleType]) -> ModuleType:
    return pages[1]


@pytest.fixture(scope="module")
def found(verdicts: ModuleType) -> dict[tuple[str, str, str], Any]:
    return verdicts.verdicts()


def test_the_model_reads_its_window_and_nothing_else(planted: ModuleType) -> None:
    for image in planted.images():
        noise = torch.rand(5, 1, planted.SIDE, planted.SIDE, generator=torch.Generator().manual_seed(0))
        inside = torch.where(image.evidence, image.image, noise)
        outside = torch.where(image.evidence, noise, image.image)
        whole = image.model(image.image).softmax(dim=1)[0, planted.CLASS]
        assert torch.equal(image.model(inside).softmax(dim=1)[:, planted.CLASS], whole.expand(5))
        assert whole > 0.95
        assert (image.model(outside).softmax(dim=1)[:, planted.CLASS] < 0.4).all()


def test_windows_move_from_image_to_image_and_the_organ_holds_them(planted: ModuleType) -> None:
    every = list(planted.images())
    assert len({str(image.window) for image in every}) > 8
    assert all(image.organ[image.evidence].all() and not image.organ.all() for image in every)


@pytest.mark.parametrize("metric", MUST)
@pytest.mark.parametrize("imputer", registry.names("imputers"))
def test_the_true_map_beats_every_control_by_a_margin(
    verdicts: ModuleType, found: Any, metric: str, imputer: str
) -> None:
    verdict = found["faithfulness", metric, imputer]
    controls = set(registry.names("controls")) | (set() if metric == verdicts.GAIN else {"shuffled"})
    assert set(verdict.ahead) == controls
    assert verdict.ahead[verdict.rival] < -MARGIN
    assert verdict.fooled_by == []


def test_metrics_of_order_do_not_change_when_values_do(verdicts: ModuleType, found: Any) -> None:
    declared = {
        name: "monotone" in registry.load(*name[:2]).METRIC.invariances for name in found if name[1] != verdicts.GAIN
    }
    for name, by_order in declared.items():
        assert not by_order or found[name].bend < verdicts.SAME, name
    told = {name[1] for name, by_order in declared.items() if not by_order and found[name].bend > 0.01}
    assert {"faith", "average_drop", "complexity", "locacc", "saliency_score"} <= told, "the bends do bend"


def test_known_faults_are_found(found: Any) -> None:
    assert {"uniform", "lungs"} <= set(found["faithfulness", "average_drop", "black"].fooled_by)
    assert "uniform" in found["faithfulness", "faith", "black"].fooled_by
    assert found["faithfulness", "complexity", "black"].fooled_by == ["shuffled"]
    assert "uniform" in found["localization", "locacc", ""].fooled_by


def test_the_page_lists_every_metric(verdicts: ModuleType) -> None:
    text = verdicts.PAGE.read_text()
    for family in verdicts.FAMILIES:
        for name in registry.names(family):
            assert re.search(rf"^(\| {name}[ ,(]|- `{name}`:)", text, re.MULTILINE), (
                f"{name}: run `python docs/metrics_planted.py`"
            )


def test_the_page_says_what_is_computed_now(verdicts: ModuleType, found: Any) -> None:
    """Word for word, but for the last digit of numbers."""
    written, now = verdicts.PAGE.read_text(), verdicts.page(found)
    assert NUMBER.sub("#", written) == NUMBER.sub("#", now), "run `python docs/metrics_planted.py`"
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (written, now)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.015)
