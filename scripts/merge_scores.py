"""Merge all score tables of the study, add its composites, and merge all curve tables."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.dag import job_work
from gradfaith.scoring import composite
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    origins = check_inputs(job.input)
    scores = parquet.read_all(job.input.get("scores", ()), parquet.SCORES)
    parquet.write(job.output.scores, composite.add_composites(scores, job.params.composite), parquet.SCORES, origins)
    curves = parquet.read_all(job.input.get("curves", ()), parquet.CURVES)
    parquet.write(job.output.curves, curves, parquet.CURVES, origins)
