"""The settings of a job: one model per rule that has some, made for every shipped study, read back whole or refused."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_images import ROOT

from gradfaith.config import job_settings, result_settings, tabular
from gradfaith.config.job_settings import JobSettings, LeakageCheckSettings, TrainSettings
from gradfaith.config.locate import read_document
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.dag.tabular import TablePlan, TableRuleParams
from gradfaith.errors import SettingsInvalid
from gradfaith.registry import PACKAGE
from gradfaith.reporting.escaping import report_texts

SHIPPED = sorted(
    [ROOT / "config/config.yaml", *(ROOT / "config/studies").glob("*.yaml"), ROOT / "tests/workflow/tiny.yaml"]
)
TABLES = [study for study in SHIPPED if "table" in read_document(study)]
STUDIES = [study for study in SHIPPED if study not in TABLES]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
SHARED = {"StudyDescription", "ProvenanceSettings"}  # of figures and tables; of both kinds of studies
WITHOUT_SETTINGS = {"weights", "packaged_weights"}
MODELS = {name: model for module in (job_settings, result_settings, tabular) for name, model in vars(module).items()
          if isinstance(model, type) and issubclass(model, JobSettings) and model is not JobSettings}  # fmt: skip


def reads(script: Path) -> Iterator[tuple[str, str]]:
    """Yield model and param of every `Model.of_params(job.params.name)` in a script."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "of_params":
            (param,) = node.args
            assert isinstance(param, ast.Attribute)
            yield ast.unparse(node.func.value), param.attr


def every_params(plan: Plan) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield script, param and value of every rule that a study has."""
    of, study = RuleParams(plan), plan.study
    plain = {
        "fetch",
        "list_raw",
        "index",
        "split",
        "pack_images",
        "audit",
        "leakage_check",
        "localization",
        "agreement",
    }
    plain |= {"predict", "merge_scores", "estimate", "provenance"}
    plain |= {rule for rule in ("across", "meta", "verdict") if getattr(study, rule)}
    plain |= ({"group"} if plan.dataset.groups else set()) | ({"adopt"} if study.external else set())
    for rule in sorted(plain):
        yield rule, "settings", getattr(of, rule)()
    for arch in plan.architectures:
        if not study.external:
            yield "train", "settings", of.train(arch)
        for bundle in plan.bundles_of(arch):
            yield "explain", "settings", of.explain(arch, bundle)
            for battery in study.batteries:
                yield "faithfulness", "settings", of.faithfulness(arch, bundle, battery)
            if bundle in plan.randomised_bundles:
                yield "randomise", "settings", of.randomise(arch, bundle)
    for figure in plan.figures:
        yield "figure", "settings", report_texts(of.figure(figure))
        yield "figure", "about", report_texts(of.study_description(figure))
    for table in plan.tables:
        yield "table", "settings", of.table(table)
        yield "table", "about", report_texts(of.study_description())


def test_every_script_reads_its_params_by_a_model_of_its_own() -> None:
    found = {script.stem: dict(reads(script)) for script in SCRIPTS}
    assert {name for name, models in found.items() if not models} == WITHOUT_SETTINGS
    owners = [model for models in found.values() for model in models]
    assert set(owners) <= set(MODELS)
    assert {model for model in owners if owners.count(model) > 1} == SHARED, "one model per rule"


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_what_a_rule_hands_over_is_what_its_script_reads(study: Path) -> None:
    readers = {(script.stem, param): MODELS[model] for script in SCRIPTS for model, param in reads(script)}
    count = 0
    for script, param, value in every_params(Plan.read(read_document(study), ROOT, str(study))):
        settings = readers[script, param].of_params(value)
        assert settings.params() == value
        assert ast.literal_eval(repr(value)) == value, "nothing but plain values"
        count += 1
    assert count > 15


@pytest.mark.parametrize("study", TABLES, ids=lambda path: path.stem)
def test_what_a_rule_of_tables_hands_over_is_what_its_script_reads(study: Path) -> None:
    readers = {(script.stem, param): MODELS[model] for script in SCRIPTS for model, param in reads(script)}
    plan = TablePlan.read(read_document(study), ROOT)
    of = TableRuleParams(plan)
    rules = ("table_index", "table_explain", "table_scores", "merge_scores", "estimate", "verdict")
    found = [(rule, "settings", getattr(of, rule)()) for rule in rules]
    found += [("table_train", "settings", of.table_train(arch)) for arch in plan.architectures]
    found += [("figure", "settings", report_texts(of.figure(figure))) for figure in plan.figures]
    found += [("table", "settings", of.table(table)) for table in plan.tables]
    found += [
        ("table", "about", report_texts(of.study_description())),
        ("table_provenance", "settings", of.provenance()),
    ]
    found += [("fetch", "settings", of.fetch())] if plan.sources else []
    for script, param, value in found:
        settings = readers[script, param].of_params(value)
        assert settings.params() == value
        assert ast.literal_eval(repr(value)) == value, "nothing but plain values"


def test_a_model_has_no_value_that_params_leave_out() -> None:
    optional = {f"{name}.{key}" for name, model in MODELS.items() for key, field in model.model_fields.items()
                if not field.is_required()}  # fmt: skip
    data = {name for name, model in MODELS.items() if issubclass(model, job_settings.DataSettings)}
    assert optional == {"TrainSettings.class_map", "ExplainSettings.contrast"} | {
        f"{name}.patient_pattern" for name in data
    }
    assert all(model.model_config["frozen"] and model.model_config["extra"] == "forbid" for model in MODELS.values())


GOOD = {"by": "group", "leak_limit": 0.75, "allow_leaky_split": False}
WRONG = [
    ({"by": "group", "leak_limit": 0.75}, "allow_leaky_split: Field required"),
    (GOOD | {"leak_limits": 1}, 'leak_limits: unknown key; did you mean "leak_limit"?'),
    (GOOD | {"leak_limit": "high"}, "leak_limit: Input should be a valid number"),
    (GOOD | {"leak_limit": "0.75"}, "leak_limit: missing, or of another type"),
    ({}, "by: Field required"),
]


@pytest.mark.parametrize(("params", "said"), WRONG)
def test_wrong_params_are_refused_with_what_is_wrong(params: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        LeakageCheckSettings.of_params(params)
    assert refusal.value.problem.startswith("the job's params are not a valid LeakageCheckSettings: ")
    assert said in refusal.value.problem
    assert "of one version" in refusal.value.fix


@pytest.mark.parametrize("path", ["recipe/rotate", "recipe/threads", "spec/options", "image/std"])
def test_a_key_that_has_a_default_elsewhere_is_not_filled_in(tiny: dict[str, Any], root: Path, path: str) -> None:
    params = RuleParams(Plan.read(tiny, root)).train("net-a")
    section, key = path.split("/")
    del params[section][key]
    with pytest.raises(SettingsInvalid, match=f"{section}.{key}: "):
        TrainSettings.of_params(params)


def test_params_of_training_are_the_text_that_trained_models_were_recorded_with(
    tiny: dict[str, Any], root: Path
) -> None:
    """Snakemake compares them as text, with their order; another text would train every model again."""
    recorded = (
        "{'spec': {'timm': 'test_resnet.r160_in1k', 'in_chans': 3, 'options': {'output_stride': 8}}, "
        "'image': {'size': 64, 'channels': 1, 'mean': 'train', 'std': 'train'}, "
        "'recipe': {'epochs': 1, 'batch': 16, 'lr': 0.001, 'weight_decay': 0.05, 'warmup_epochs': 0.0, "
        "'label_smoothing': 0.0, 'class_weights': True, 'group_weights': False, 'max_slices_per_group': None, "
        "'flip': True, 'shift': 0.05, 'rotate': 10.0, 'scale': 0.0, 'contrast': 0.1, 'threads': 1}, "
        "'classes': ['normal', 'benign', 'malignant']}"
    )
    assert repr(RuleParams(Plan.read(tiny, root)).train("net-a")) == recorded


JOB = """
import json, runpy, sys
from types import SimpleNamespace

script, log, params = sys.argv[1:]
job = SimpleNamespace(log=[log], params=SimpleNamespace(settings=json.loads(params)), rule="any", threads=1, config={})
runpy.run_path(script, init_globals={"snakemake": job})
"""


@pytest.mark.parametrize("script", ["leakage_check", "split", "merge_scores", "fetch"])
@pytest.mark.parametrize("params", [{}, {"surplus": 1}])
def test_a_script_says_in_three_parts_that_its_params_are_wrong(
    tmp_path: Path, script: str, params: dict[str, Any]
) -> None:
    log = tmp_path / "job.log"
    command = [sys.executable, "-c", JOB, str(ROOT / f"scripts/{script}.py"), str(log), json.dumps(params)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    text = log.read_text()
    assert done.returncode == 1
    assert "SettingsInvalid: the job's params are not a valid " in text
    assert "different versions of GradFaith" in text
    assert "Traceback" not in text + done.stdout + done.stderr


def test_no_script_uses_params_as_they_are() -> None:
    """Settings and descriptions are read by their models; `code` is a plain text, or one for each rule."""
    for script in SCRIPTS:
        tree = ast.parse(script.read_text())
        used = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
                and ast.unparse(node.value) == "job.params" and node.attr != "code"]  # fmt: skip
        assert sorted(used) == sorted(f"job.params.{param}" for _, param in reads(script)), script.name


def test_no_function_takes_settings_as_a_mapping() -> None:
    typed = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                if argument.arg in {"settings", "about", "passes", "grouping", "primary"}:
                    typed.append((f"{path.name}: {node.name}", ast.unparse(argument.annotation or ast.Constant(None))))
    assert len(typed) > 20
    plain = [where for where, annotation in typed if "Any" in annotation or annotation.startswith("dict")]
    assert plain == []


def test_reading_settings_imports_no_heavy_package() -> None:
    """Every script imports these models, so they cost every job its start."""
    code = "import sys, gradfaith.config.result_settings; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "timm", "pandas", "h5py", "pyarrow", "PIL", "scipy"} & set(loaded)


def test_scripts_are_short() -> None:
    assert {script.name: lines for script in SCRIPTS if (lines := len(script.read_text().splitlines())) > 40} == {}
