"""What a job asks of a scheduler grows with every attempt and with the architecture, and with nothing else."""

from types import SimpleNamespace
from typing import Any

import pytest
from refused import put

from gradfaith.config.compute import Compute
from gradfaith.dag.job_resources import JobResources, scaled
from gradfaith.dag.plan import Plan
from gradfaith.errors import StudyInvalid


def test_memory_and_minutes_by_attempt_and_architecture() -> None:
    requested = scaled(1000, {"vit": 2.5})
    vit, resnet, none = SimpleNamespace(arch="vit"), SimpleNamespace(arch="resnet"), SimpleNamespace()
    assert [requested(resnet, attempt) for attempt in (1, 2, 3)] == [1000, 2000, 3000]
    assert [requested(vit, attempt) for attempt in (1, 2, 3)] == [2500, 5000, 7500]
    assert requested(none, 1) == 1000  # a rule without architectures
    assert scaled(15, {"vit": 1.0001})(vit, 1) == 16  # whole, and never less than the scaled amount


def test_each_kind_of_job_requests_what_the_study_says() -> None:
    compute = Compute(gpus=1, mem_mb=3000, runtime=90, short_runtime=20)
    resources, anywhere = JobResources(compute), SimpleNamespace()
    kinds = {
        "light": resources.light(),
        "cpu": resources.cpu(),
        "gpu": resources.gpu(),
        "training": resources.training(),
    }
    amounts = {kind: (found["mem_mb"](anywhere, 1), found["runtime"](anywhere, 1)) for kind, found in kinds.items()}
    assert amounts == {"light": (1000, 20), "cpu": (3000, 20), "gpu": (3000, 20), "training": (3000, 90)}
    assert {kind for kind, found in kinds.items() if found.get("gpu")} == {"gpu", "training"}
    assert resources.light(minutes=90)["runtime"](anywhere, 1) == 90


def test_a_job_reads_the_machine_settings_of_its_configuration() -> None:
    assert Compute.of_config({"study": "s", "compute": {"chunk": 7}}).chunk == 7
    assert Compute.of_config({"study": "s"}) == Compute()


def test_an_unknown_architecture_cannot_be_resource_factors(tiny: dict[str, Any], root: Any) -> None:
    with pytest.raises(StudyInvalid, match="resource_factors: net-x is not an architecture of the study"):
        Plan.read(put(tiny, "compute", {"resource_factors": {"net-x": 2}}), root)
    with pytest.raises(StudyInvalid, match=r"compute.resource_factors.net-a: .*greater than 0"):
        Plan.read(put(tiny, "compute", {"resource_factors": {"net-a": 0}}), root)
