"""Fetch pretrained weights, once, where there is a network."""

from pathlib import Path

import gradfaith.job
from gradfaith.models.pretrained import fetch

job = snakemake

with gradfaith.job.running(job.log[0]):
    fetch(job.wildcards.timm, Path(job.output.weights), Path(job.output.record))
