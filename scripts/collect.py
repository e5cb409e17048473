"""Every score of the study in one table, and every point of its curves in another."""

import gradfaith.job
from gradfaith import tables

job = snakemake

with gradfaith.job.running(job.log[0]):
    for kind, schema in (("scores", tables.SCORES), ("curves", tables.CURVES)):
        tables.write(job.output[kind], tables.read_all(job.input.get(kind, ()), schema), schema)
