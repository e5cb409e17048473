"""What a change makes stale: the design's table, asked of Snakemake."""

import os
import time

import pytest
from workspace import Workspace

from gradfaith.config.sections import RECIPE_VERSION

pytestmark = pytest.mark.xdist_group("workflow")  # the finished study is made once

AFTER = {"merge_scores": 1, "estimate": 1, "verdict": 1, "table": 6, "provenance": 1}
FIGURES = {"classification", "confusion", "training", "panels", "controls", "lesion_size", "accuracy_faithfulness"}
MODELS, BUNDLES = 4, 2
GRADFAITH = "workflow/gradfaith"


def test_a_finished_study_has_nothing_to_do(finished: Workspace):
    assert finished.planned() == {}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        pytest.param(
            f"{GRADFAITH}/attribution/methods/gradcam.py", "\nfrom torch", "\n# a comment\nfrom torch", id="comment"
        ),
        pytest.param(f"{GRADFAITH}/attribution/methods/gradcam.py", '"""', '"""Another first line. ', id="docstring"),
        pytest.param(f"{GRADFAITH}/models/layers.py", "problem=f", "problem='again ' + f", id="error text"),
        pytest.param(f"{GRADFAITH}/storage/map_info.py", "return np.where(", "return 1 * np.where(", id="plumbing"),
        pytest.param("config/README.md", "# Configuration", "# The configuration", id="readme"),
    ],
)
def test_words_and_plumbing_make_nothing_stale(spoilable: Workspace, path: str, old: str, new: str):
    spoilable.edit(path, old, new)
    assert spoilable.planned() == {}


def test_touching_code_and_config_makes_nothing_stale(spoilable: Workspace):
    later = time.time() + 60
    for folder in ("scripts", "rules", "workflow", "config", "envs"):
        for file in (spoilable.folder / folder).rglob("*"):
            os.utime(file, (later, later))
    assert spoilable.planned() == {}


def test_a_method_makes_its_bundle_stale_and_what_is_collected_from_it(spoilable: Workspace):
    spoilable.edit(f"{GRADFAITH}/attribution/methods/gradcam.py", ".relu()", ".relu().mul(2.0)")
    planned = spoilable.planned()
    assert planned.pop("figure") >= 3
    assert planned == {"explain": MODELS, "faithfulness": MODELS, "localization": MODELS, "agreement": 2, **AFTER}


def test_a_localization_metric_makes_localization_stale_and_no_model_job(spoilable: Workspace):
    spoilable.edit(
        f"{GRADFAITH}/metrics/localization/saliency_score.py", "import numpy as np", "import numpy as np\n\nEXTRA = 1"
    )
    planned = spoilable.planned()
    assert planned.pop("figure") >= 3
    assert planned == {"localization": MODELS, **AFTER}


@pytest.mark.parametrize("path", ["metrics/faithfulness/faith.py", "metrics/imputers/black.py"])
def test_a_faithfulness_metric_or_an_imputer_makes_its_battery_stale(spoilable: Workspace, path: str):
    spoilable.edit(f"{GRADFAITH}/{path}", "\nfrom ", "\nEXTRA = 1\nfrom ")
    planned = spoilable.planned()
    assert planned.pop("figure") >= 3
    assert planned == {"faithfulness": MODELS * BUNDLES, **AFTER}


def test_a_figures_option_makes_one_figure_stale(spoilable: Workspace):
    spoilable.edit("tiny.yaml", "figures: [", "figures: {panels: {options: {images: 4}}}\nx: [")
    text = (spoilable.folder / "tiny.yaml").read_text().split("\nx: [")[0]
    others = "".join(f", {name}: {{}}" for name in sorted(FIGURES - {"panels"}))
    (spoilable.folder / "tiny.yaml").write_text(text.replace("{images: 4}}}", f"{{images: 4}}}}{others}}}"))
    assert spoilable.planned() == {"figure": 1}


def test_a_table_s_file_makes_that_table_stale(spoilable: Workspace):
    spoilable.edit(f"{GRADFAITH}/reporting/tables/ranks.py", "import pandas as pd", "import pandas as pd\n\nEXTRA = 1")
    assert spoilable.planned() == {"table": 1}


def test_a_margin_makes_the_verdict_stale_and_no_estimate(spoilable: Workspace):
    with (spoilable.folder / "tiny.yaml").open("a") as file:
        file.write("verdict: {faith_gain: 0.1}\n")
    assert spoilable.planned() == {"verdict": 1, "table": 2, "provenance": 1}


def test_the_code_of_gates_makes_the_verdict_stale_and_no_estimate(spoilable: Workspace):
    spoilable.edit(f"{GRADFAITH}/stats/gates.py", "PASS if passed", "PASS if bool(passed)")
    assert spoilable.planned() == {"verdict": 1, "table": 2, "figure": 1, "provenance": 1}  # the figure: audit


def test_a_claim_adds_its_own_jobs_and_makes_nothing_stale(spoilable: Workspace):
    with (spoilable.folder / "tiny.yaml").open("a") as file:
        file.write("claims: {mine: {says: Grad-CAM finds it, metric: saliency_score, method: gradcam, margin: 0.5}}\n")
    assert spoilable.planned() == {"claims": 1, "table": 1, "provenance": 1}


def test_a_seed_adds_its_own_cells(spoilable: Workspace):
    spoilable.edit("tiny.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    planned = spoilable.planned()
    assert planned.pop("figure") == len(FIGURES)
    own = {
        "train": 2,
        "predict": 2,
        "explain": 2 * BUNDLES,
        "faithfulness": 2 * BUNDLES,
        "localization": 2,
        "agreement": 2,
    }
    assert planned == {**own, **AFTER}


def test_the_recipe_makes_training_stale_and_all_after_it(spoilable: Workspace):
    spoilable.edit("tiny.yaml", "lr: 1.0e-3", "lr: 2.0e-3")
    planned = spoilable.planned()
    assert {"train": MODELS, "predict": MODELS, "explain": MODELS * BUNDLES}.items() <= planned.items()
    assert not {"index", "audit", "split", "pack_images"} & set(planned)


def test_training_code_counts_by_its_version(spoilable: Workspace):
    spoilable.edit(f"{GRADFAITH}/models/training/loop.py", "import math", "import math\n\nEXTRA = 1")
    assert spoilable.planned() == {}
    spoilable.edit(
        f"{GRADFAITH}/config/sections.py",
        f"RECIPE_VERSION = {RECIPE_VERSION}",
        f"RECIPE_VERSION = {RECIPE_VERSION + 1}",
    )
    assert spoilable.planned()["train"] == MODELS


def test_how_the_machine_is_used_makes_nothing_stale(spoilable: Workspace):
    with (spoilable.folder / "tiny.yaml").open("a") as file:
        file.write("compute: {chunk: 7, mem_mb: 3000, runtime: 5, device: cpu}\n")
    assert spoilable.planned() == {}
