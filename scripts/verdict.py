"""Give the maps of every method on every architecture a verdict, from the study's estimates."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from dataclasses import asdict

from gradfaith.config.result_settings import VerdictSettings
from gradfaith.dag import job_work
from gradfaith.stats.gates import GateRules, GateTables
from gradfaith.stats.interval_scales import interval_rule
from gradfaith.stats.verdict import judge_study
from gradfaith.storage import json_file, parquet
from gradfaith.storage.identity import VERDICT_FORMAT
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = VerdictSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    tables = GateTables(
        classification=parquet.read(job.input.classification, parquet.CLASSIFICATION),
        estimates=parquet.read(job.input.estimates, parquet.ESTIMATES),
        contrasts=parquet.read(job.input.contrasts, parquet.CONTRASTS),
    )
    rule = interval_rule(settings.level, settings.min_groups, settings.bounds)
    rules = GateRules(**settings.for_gates(), bounds=rule.bounds)
    verdict = judge_study(tables, settings.methods, rules, level=settings.level)
    json_file.write_identified(job.output[0], asdict(verdict), origins, version=VERDICT_FORMAT)
