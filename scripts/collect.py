"""Every score of the study in one table, the composites made of them, and every point of its curves in another."""

import gradfaith.runtime.job
from gradfaith.scoring import composite
from gradfaith.storage import parquet

job = snakemake

with gradfaith.runtime.job.running(job.log[0]):
    scores = parquet.read_all(job.input.get("scores", ()), parquet.SCORES)
    parquet.write(job.output.scores, composite.added(scores, job.params.composite), parquet.SCORES)
    parquet.write(job.output.curves, parquet.read_all(job.input.get("curves", ()), parquet.CURVES), parquet.CURVES)
