"""Paths of a study: no two jobs write to one file."""

from itertools import product

import pytest

from gradfaith.storage.paths import StudyPaths

LABELS = ("a", "a_0", "b", "1_b", "0_b", "b_x")


@pytest.mark.parametrize("kind", ["log", "benchmark", "home_log", "home_benchmark"])
def test_no_two_jobs_share_a_log_or_a_benchmark(kind: str) -> None:
    pattern = getattr(StudyPaths("s", "s", "s"), kind)("faithfulness", "arch", "seed", "bundle", "battery")
    cells = list(product(LABELS, (0, 1, 10), LABELS, LABELS))
    paths = {
        pattern.format(arch=arch, seed=seed, bundle=bundle, battery=battery) for arch, seed, bundle, battery in cells
    }
    assert len(paths) == len(cells)


def test_a_log_lies_as_the_output_of_its_job() -> None:
    paths = StudyPaths("s", "s", "s")
    outputs = {
        "explain": (paths.maps, ("arch", "seed", "bundle")),
        "faithfulness": (paths.faithfulness, ("arch", "seed", "bundle", "battery")),
        "predict": (paths.predictions, ("arch", "seed")),
    }
    for rule, (output, wildcards) in outputs.items():
        place = output[output.index("{arch}") :].rpartition(".")[0]
        assert paths.log(rule, *wildcards) == f"results/s/logs/{rule}/{place}.log"
