"""GradFaith: how far can the heat maps of a classifier be believed? Reads and checks the study, names the targets."""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.20")

HERE = Path(workflow.current_basedir)
sys.path.insert(0, str(HERE / "workflow"))

from gradfaith.dag.job_resources import Asks  # noqa: E402
from gradfaith.errors import Refusal  # noqa: E402
from gradfaith.runtime.job import prepare  # noqa: E402
from gradfaith.dag.plan import Plan  # noqa: E402
from gradfaith.dag.rule_params import Slices  # noqa: E402

prepare(HERE / "workflow")

if not workflow.configfiles:

    configfile: "config/config.yaml"


try:
    plan = Plan.read(config, HERE, " ".join(map(str, workflow.configfiles)))
except Refusal as refusal:
    raise WorkflowError(str(refusal)) from None

study, layout, slices = plan.study, plan.layout, Slices(plan)
asks = Asks(study.compute.heavier)
TABLES = plan.tables
GPU_ENV = "../envs/gpu.yaml" if study.compute.gpus else "../envs/cpu.yaml"


wildcard_constraints:
    arch="|".join(plan.architectures),
    seed=r"\d+",
    bundle="|".join(plan.bundles),
    battery="|".join(study.batteries) or "none",


include: "rules/data.smk"
include: "rules/models.smk"
include: "rules/maps.smk"
include: "rules/scores.smk"
include: "rules/results.smk"


rule all:
    default_target: True
    input:
        layout.audit,
        layout.provenance,
        [layout.figure(figure, "svg") for figure in plan.figures],
        [layout.table(table, "md") for table in TABLES],
