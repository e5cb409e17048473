"""How often a verdict fails although every gate is met in truth: one of many parts is enough. docs/verdict.md has the rates."""

import numpy as np
import pytest

from gradfaith import rng
from gradfaith.stats.gates import FAIL, PASS, RELATIONS, compare_interval, worst_status

PARTS = {
    "balanced_accuracy": 1,
    "localization": 8,
    "faith_gain": 2,
    "randomisation": 2,
    "consistency": 3,
    "shortcut_lift": 1,
}
WITHIN = 0.5  # correlation of the parts of one gate: they share the method's scores
HALF, STUDIES = 1.96, 1500


def share_of(status: str, room: float, studies: int = STUDIES) -> float:
    """Return how often the verdict has a status; every true number is `room` standard errors on the right side."""
    noise, count = rng.generator("false fails", room), 0
    for _ in range(studies):
        found = []
        for gate, parts in PARTS.items():
            relation = RELATIONS[gate]
            shared = np.sqrt(WITHIN) * noise.standard_normal()
            sign = 1 if relation.startswith(">") else -1
            for own in noise.standard_normal(parts):
                value = sign * room + shared + np.sqrt(1 - WITHIN) * own
                found.append(compare_interval(value - HALF, value + HALF, 0.0, relation))
        count += worst_status(found) == status
    return count / studies


@pytest.mark.parametrize(("room", "expected"), [(0.0, 0.29), (1.0, 0.024), (2.0, 0.001)])
def test_the_rates_of_false_fails_are_those_of_the_page(room: float, expected: float) -> None:
    assert share_of(FAIL, room) == pytest.approx(expected, abs=0.03)


def test_false_passes_are_rarer_than_the_level_allows_for_one_gate() -> None:
    assert share_of(PASS, 0.0, studies=500) < 0.025
