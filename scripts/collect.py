"""Every score of the study in one table."""

from gradfaith import tables
from gradfaith.job import running

job = snakemake

with running(job.log[0]):
    tables.write(job.output[0], tables.read_all(job.input, tables.SCORES), tables.SCORES)
