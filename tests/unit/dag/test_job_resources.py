"""What a job asks of a scheduler grows with every attempt and with the architecture, and with nothing else."""

from types import SimpleNamespace
from typing import Any

import pytest
from refused import put

from gradfaith.dag.job_resources import Asks
from gradfaith.dag.plan import Plan
from gradfaith.errors import StudyInvalid


def test_memory_and_minutes_by_attempt_and_architecture() -> None:
    asked = Asks({"vit": 2.5})(1000)
    vit, resnet, none = SimpleNamespace(arch="vit"), SimpleNamespace(arch="resnet"), SimpleNamespace()
    assert [asked(resnet, attempt) for attempt in (1, 2, 3)] == [1000, 2000, 3000]
    assert [asked(vit, attempt) for attempt in (1, 2, 3)] == [2500, 5000, 7500]
    assert asked(none, 1) == 1000  # a rule without architectures
    assert Asks({"vit": 1.0001})(15)(vit, 1) == 16  # whole, and never less than asked


def test_an_unknown_architecture_cannot_be_heavier(tiny: dict[str, Any], root: Any) -> None:
    with pytest.raises(StudyInvalid, match="heavier: net-x is no architecture of the study"):
        Plan.read(put(tiny, "compute", {"heavier": {"net-x": 2}}), root)
    with pytest.raises(StudyInvalid, match=r"compute.heavier.net-a: .*greater than 0"):
        Plan.read(put(tiny, "compute", {"heavier": {"net-a": 0}}), root)
