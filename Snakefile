"""GradFaith measures how far the heat maps of a classifier can be believed: read and check the study, list the targets."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.20")

HERE = Path(workflow.current_basedir)
sys.path.insert(0, str(HERE / "workflow"))

from gradfaith.config.architecture import TIMM_NAME  # noqa: E402
from gradfaith.config.locate import read_document  # noqa: E402
from gradfaith.dag.job_resources import JobResources  # noqa: E402
from gradfaith.dag import report_items as report_order  # noqa: E402
from gradfaith.dag.plan import Plan  # noqa: E402
from gradfaith.dag.rule_params import RuleParams  # noqa: E402
from gradfaith.reporting.escaping import report_texts  # noqa: E402
from gradfaith.runtime import own_code  # noqa: E402
from gradfaith.runtime.job import prepare_environment  # noqa: E402
from gradfaith.runtime.workflow_run import WorkflowRun  # noqa: E402
from gradfaith.storage import identity  # noqa: E402
from gradfaith.storage.atomic import check_writable  # noqa: E402
from gradfaith.vocabulary import TABLE  # noqa: E402

prepare_environment(HERE / "workflow")
workflow_run = WorkflowRun(workflow)  # prints a GradFaithError without a traceback

if not workflow.configfiles:

    configfile: "config/config.yaml"


for file in workflow.configfiles:
    read_document(
        Path(file)
    )  # for two equal keys Snakemake silently uses the last; this raises an error
own_code.take_permission(config, workflow.config_settings.config)
OF_TABLE = TABLE in config  # the study explains a table instead of images
Planned, Params = Plan, RuleParams
if OF_TABLE:
    from gradfaith.dag.tabular import TablePlan as Planned, TableRuleParams as Params
plan = Planned.read(config, HERE, " ".join(map(str, workflow.configfiles)))
study, paths, rule_params = plan.study, plan.paths, Params(plan)
job_resources = JobResources(study.compute)
report_items = report_order.report_items(plan)
GPU_ENV = "../envs/gpu.yaml" if study.compute.gpus else "../envs/cpu.yaml"


report: "workflow/report/workflow.rst"


wildcard_constraints:
    arch="|".join(plan.architectures),
    seed=r"\d+",
    bundle="none" if OF_TABLE else "|".join(plan.bundles),
    battery="none" if OF_TABLE else "|".join(study.batteries) or "none",
    timm=TIMM_NAME,
    package=r"[a-z0-9-]+",


if OF_TABLE:

    include: "rules/tabular.smk"

else:

    include: "rules/data.smk"
    include: "rules/models.smk"
    include: "rules/maps.smk"
    include: "rules/scores.smk"


include: "rules/results.smk"


onstart:
    workflow_run.end_jobs_on_signals()
    check_writable(  # in a read-only folder Snakemake's own error only has a number
        Path(file).parent
        for job in workflow.dag.needrun_jobs()
        for file in (*job.output, *job.log)
    )


rule all:
    default_target: True
    input:
        paths.audit,
        paths.provenance,
        [paths.figure(figure, "svg") for figure in plan.figures],
        [paths.table(table, "md") for table in plan.tables],
