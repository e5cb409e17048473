"""Scores become a judgement of the metrics: how they rank methods beside the evidence, and which controls fool them."""

import gradfaith.job
from gradfaith import meta, tables

job = snakemake

with gradfaith.job.running(job.log[0]):
    scores = tables.read(job.input.scores, tables.SCORES)
    tables.write(job.output[0], meta.evaluation(scores, job.params.settings), tables.META)
