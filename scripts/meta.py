"""Evaluate the metrics: their rank agreement with the evidence, and the controls that score above methods."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.result_settings import MetaSettings
from gradfaith.dag import job_work
from gradfaith.stats import meta_evaluation
from gradfaith.stats.estimates import SCORE_COLUMNS
from gradfaith.stats.interval_scales import interval_rule
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = MetaSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    table = meta_evaluation.evaluate_metrics(
        parquet.read_groups(job.input.scores, parquet.SCORES, SCORE_COLUMNS),
        settings.truth,
        settings.better,
        settings.controls,
        against=settings.against,
        order_only=settings.order_only,
        rule=interval_rule(settings.level, settings.min_groups, settings.bounds),
    )
    parquet.write(job.output[0], table, parquet.META, origins)
