"""Judge the metrics: do they rank methods as the evidence does, and which controls fool them?"""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.dag import job_work
from gradfaith.stats import meta_evaluation
from gradfaith.stats.estimates import SCORE_COLUMNS
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    origins = check_inputs(job.input)
    scores = parquet.read_columns(job.input.scores, parquet.SCORES, SCORE_COLUMNS)
    parquet.write(job.output[0], meta_evaluation.evaluate_metrics(scores, job.params.settings), parquet.META, origins)
