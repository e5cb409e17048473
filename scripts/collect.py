"""Every score of the study in one table."""

import gradfaith.job
from gradfaith import tables

job = snakemake

with gradfaith.job.running(job.log[0]):
    tables.write(job.output[0], tables.read_all(job.input, tables.SCORES), tables.SCORES)
