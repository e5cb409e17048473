"""Fetch pretrained weights, once, where there is a network."""

from pathlib import Path

from gradfaith.job import running
from gradfaith.models.pretrained import fetch

job = snakemake

with running(job.log[0]):
    fetch(job.wildcards.timm, Path(job.output[0]))
