"""The metrics of FunnyBirds against its protocol, written down literally for one image at a time."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from gradfaith.metrics.composite import funnybirds_score
from gradfaith.metrics.contract import MethodMaps
from gradfaith.metrics.faithfulness import funnybirds_completeness, funnybirds_contrastivity, funnybirds_correctness
from gradfaith.metrics.maps.renders import NO_RENDERS, RenderTable
from gradfaith.metrics.runners.masking import run_battery
from gradfaith.vocabulary import FIRST_SURROUNDING

SIZE, COUNT, CLASSES = 24, 24, 4
OBJECT, THINGS = (1, 2, 3), (FIRST_SURROUNDING, FIRST_SURROUNDING + 1)
SETS = [chosen for count in (1, 2, 3) for chosen in combinations(OBJECT, count)] + [(thing,) for thing in THINGS]
PLACES = {1: (2, 2), 2: (2, 12), 3: (10, 4), THINGS[0]: (16, 4), THINGS[1]: (16, 16)}
SUFFICIENT = {(1,), (2,), (3,), (1, 2)}  # of what is removed: part 3, or part 1 with part 2, names the class
METRICS = {
    "completeness": funnybirds_completeness,
    "correctness": funnybirds_correctness,
    "contrastivity": funnybirds_contrastivity,
}
LEVELS = np.linspace(0.01, 0.50, 80)


class Birds:
    """Images, maps and a linear model; what a part is worth to each class is random."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.numbers = np.zeros((COUNT, SIZE, SIZE), dtype=np.uint8)
        for number, (top, left) in PLACES.items():
            self.numbers[:, top : top + 4, left : left + 4] = number
        self.images = draw.uniform(0.5, 1, (COUNT, 1, SIZE, SIZE))
        self.weights = np.zeros((CLASSES, SIZE, SIZE))
        for number in PLACES:
            value = draw.normal(size=(CLASSES, 1)) * (0.05 if number in THINGS else 1)
            self.weights[:, self.numbers[0] == number] = value
        self.maps, self.rivals = draw.random((2, COUNT, SIZE, SIZE)) ** 4
        for number in OBJECT:
            inside = self.numbers[0] == number
            self.maps[:, inside] *= draw.uniform(0, 8, (COUNT, 1))
            self.rivals[:, inside] *= draw.uniform(0, 8, (COUNT, 1))
        self.target, self.against = draw.integers(0, CLASSES, (2, COUNT))
        self.has = draw.random((COUNT, len(SETS))) < 2  # every image, but for the second thing of some
        self.has[::3, -1] = False

    def logits(self, image: np.ndarray) -> np.ndarray:
        return (self.weights * image).sum(axis=(1, 2)) + np.linspace(0, 0.1, CLASSES)

    def without(self, row: int, removed: tuple[int, ...]) -> np.ndarray:
        return np.where(np.isin(self.numbers[row], removed), 0, self.images[row, 0])

    def run(self, metric: str, **options: float) -> dict[str, np.ndarray]:
        drawn = torch.stack(
            [torch.tensor(np.stack([self.without(row, one)[None] for one in SETS])) for row in range(COUNT)]
        )
        number = torch.arange(COUNT * len(SETS)).reshape(COUNT, -1).masked_fill(torch.tensor(~self.has), -1)
        sufficient = torch.tensor([[one in SUFFICIENT for one in SETS]]).expand(COUNT, -1)
        shared = torch.tensor([[{(1,): 1, (2,): 2}.get(one, 0) for one in SETS]]).expand(COUNT, -1)
        table = RenderTable(SETS, number, sufficient, shared, lambda asked: drawn.flatten(0, 1)[list(asked)])
        rows = type("Rows", (), {"__getitem__": lambda _self, some: table.select(torch.arange(COUNT)[some])})()
        maps = MethodMaps(
            *(torch.tensor(self.maps), "input", False, torch.arange(COUNT), torch.tensor(self.target)),
            torch.tensor(self.rivals), torch.tensor(self.against),
        )  # fmt: skip
        weights = torch.tensor(self.weights)
        model = lambda images: torch.einsum("ncij,kij->nk", images, weights) + torch.linspace(0, 0.1, CLASSES)  # noqa: E731
        numbers = torch.tensor(self.numbers)
        found = run_battery(
            model, torch.tensor(self.images), {"m": maps}, {"x": (METRICS[metric], options)}, {}, regions=numbers,
            renders=rows, chunk=7,
        ).by_method["m"]["x", ""]  # fmt: skip
        return {"value": found.value, "reason": found.reason}


def part_importance(birds: Birds, row: int, number: int, *, rival: bool = False) -> float:
    """Share of the map in the part and two pixels around it."""
    evaluated = (birds.rivals if rival else birds.maps)[row]
    evaluated = (evaluated - evaluated.min()) / (evaluated.max() - evaluated.min())
    top, left = PLACES[number]
    return float(evaluated[max(top - 2, 0) : top + 6, max(left - 2, 0) : left + 6].sum() / evaluated.sum())


def removal_drop(birds: Birds, row: int, removed: tuple[int, ...], of: int) -> float:
    return float(birds.logits(birds.images[row, 0])[of] - birds.logits(birds.without(row, removed))[of])


def literal_correctness(birds: Birds, row: int) -> float:
    importance = [part_importance(birds, row, number) for number in OBJECT]
    drops = [removal_drop(birds, row, (number,), birds.target[row]) for number in OBJECT]
    return float(spearmanr(importance, drops).statistic) / 2 + 0.5


def literal_completeness(birds: Birds, row: int, level: float) -> float | None:
    own = birds.target[row]
    before = birds.logits(birds.images[row, 0])
    if before.argmax() != own:
        return None
    important = {number for number in OBJECT if part_importance(birds, row, number) > level}
    things = [thing for thing, there in zip(THINGS, birds.has[row, -2:], strict=True) if there]
    minimal = [{3}, {1, 2}]
    covered = max(len(one & important) / len(one) for one in minimal)

    def answer(removed: set[int]) -> int:
        return int(birds.logits(birds.without(row, tuple(removed))).argmax())

    preserved, deleted = answer(set(OBJECT) - important) == own, answer(important) != own
    score = before[own]
    irrelevant = [
        number
        for number in (*OBJECT, *things)
        if abs(drop := removal_drop(birds, row, (number,), own)) < 0.05 * abs(score) or drop < 0
    ]
    if not irrelevant:
        return None
    marked = {number for number in (*OBJECT, *things) if part_importance(birds, row, number) > level}
    spared = 1 - len(marked & set(irrelevant)) / len(irrelevant)
    return ((covered + preserved + deleted) / 3 + spared) / 2


def literal_contrastivity(birds: Birds, row: int) -> float | None:
    first, second = birds.target[row], birds.against[row]
    if not (
        removal_drop(birds, row, (1,), first) > removal_drop(birds, row, (2,), first)
        and removal_drop(birds, row, (2,), second) > removal_drop(birds, row, (1,), second)
    ):
        return None
    one = part_importance(birds, row, 1) > part_importance(birds, row, 1, rival=True)
    other = part_importance(birds, row, 2) < part_importance(birds, row, 2, rival=True)
    return (one + other) / 2


@pytest.mark.parametrize("seed", range(4))
def test_correctness_is_the_single_deletion_score(seed: int) -> None:
    birds = Birds(seed)
    np.testing.assert_allclose(
        birds.run("correctness")["value"], [literal_correctness(birds, row) for row in range(COUNT)], atol=1e-9
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.0])
def test_completeness_is_its_four_terms(seed: int, threshold: float) -> None:
    birds = Birds(seed)
    levels = [threshold] if threshold else LEVELS
    each = [[literal_completeness(birds, row, level) for level in levels] for row in range(COUNT)]
    expected = [np.nan if None in values else np.mean(values) for values in each]
    found = birds.run("completeness", threshold=threshold)
    np.testing.assert_allclose(found["value"], expected, atol=1e-9)
    assert set(found["reason"][np.isnan(expected)]) <= {
        funnybirds_completeness.WRONG,
        funnybirds_completeness.ALL_MATTER,
    }


def test_contrastivity_compares_the_maps_of_two_classes() -> None:
    counted = 0
    for seed in range(8):
        birds = Birds(seed)
        expected = [literal_contrastivity(birds, row) for row in range(COUNT)]
        found = birds.run("contrastivity")
        np.testing.assert_allclose(found["value"], [np.nan if one is None else one for one in expected], atol=1e-9)
        assert set(found["reason"][np.isnan(found["value"])]) <= {funnybirds_contrastivity.PREMISE}
        counted += sum(one is not None for one in expected)
    assert counted > 20


def test_one_map_for_every_class_has_the_contrastivity_of_chance() -> None:
    birds = Birds(1)
    birds.rivals = birds.maps
    values = birds.run("contrastivity")["value"]
    assert np.isfinite(values).any()
    assert (values[np.isfinite(values)] == 0.5).all()


def test_images_without_renders_have_no_value_and_a_reason() -> None:
    birds = Birds(0)
    birds.has[5] = False
    for metric in METRICS:
        found = birds.run(metric)
        assert np.isnan(found["value"][5])
        assert found["reason"][5] == NO_RENDERS


def test_the_score_is_the_mean_of_its_parts() -> None:
    parts = {"funnybirds_completeness": np.array([0.2]), "funnybirds_correctness": np.array([0.9])}
    assert funnybirds_score.score(parts | {"funnybirds_contrastivity": np.array([0.4])}).value == pytest.approx(0.5)
