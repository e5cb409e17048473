"""Fetch pretrained weights from the hub, once."""

from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.dag import job_work
from gradfaith.models.weight_file import fetch_pretrained

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    fetch_pretrained(job.wildcards.timm, Path(job.output.weights), Path(job.output.record))
