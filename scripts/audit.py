"""Audit a manifest: counts and duplicates."""

import json

import gradfaith.job
from gradfaith import tables
from gradfaith.atomic import write_text
from gradfaith.data.audit import audit

job = snakemake

with gradfaith.job.running(job.log[0]):
    found = audit(tables.read(job.input[0], tables.MANIFEST))
    write_text(job.output[0], json.dumps(found, indent=2) + "\n")
