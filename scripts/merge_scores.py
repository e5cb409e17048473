"""Merge all score tables of the study, add its composites, and merge all curve tables."""

import gradfaith.runtime.job
from gradfaith.scoring import composite
from gradfaith.storage import parquet

job = snakemake

with gradfaith.runtime.job.running(job.log[0]):
    scores = parquet.read_all(job.input.get("scores", ()), parquet.SCORES)
    parquet.write(job.output.scores, composite.add_composites(scores, job.params.composite), parquet.SCORES)
    parquet.write(job.output.curves, parquet.read_all(job.input.get("curves", ()), parquet.CURVES), parquet.CURVES)
