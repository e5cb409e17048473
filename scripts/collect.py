"""Every score of the study in one table, the composites made of them, and every point of its curves in another."""

import gradfaith.job
from gradfaith import composite, tables

job = snakemake

with gradfaith.job.running(job.log[0]):
    scores = tables.read_all(job.input.get("scores", ()), tables.SCORES)
    tables.write(job.output.scores, composite.added(scores, job.params.composite), tables.SCORES)
    tables.write(job.output.curves, tables.read_all(job.input.get("curves", ()), tables.CURVES), tables.CURVES)
