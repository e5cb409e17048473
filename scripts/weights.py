"""Fetch pretrained weights, once, where there is a network."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith.models.weight_file import fetch

job = snakemake

with gradfaith.runtime.job.running(job.log[0]):
    fetch(job.wildcards.timm, Path(job.output.weights), Path(job.output.record))
