"""Merge all score tables of the study, add its composites, and merge all curve tables."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import MergeScoresSettings
from gradfaith.dag import job_work
from gradfaith.scoring import composite
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = MergeScoresSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    with parquet.writing(job.output.scores, parquet.SCORES, origins) as add:
        for scores in composite.merge_tables(job.input.get("scores", ()), settings.composites):
            add(scores)
    with parquet.writing(job.output.curves, parquet.CURVES, origins) as add:
        for path in job.input.get("curves", ()):
            for curves in parquet.read_groups(path, parquet.CURVES):
                add(curves)
