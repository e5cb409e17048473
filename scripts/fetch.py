"""Fetch a dataset's images from the first of its sources that has them."""

import json
from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import FetchSettings
from gradfaith.dag import job_work
from gradfaith.data.fetch.dataset_files import fetch
from gradfaith.storage.atomic import write_text

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = FetchSettings.of_params(job.params.settings)
    known = Path(settings.files) if settings.files else None
    record = fetch(settings.sources, Path(job.output[0]).parent, known, root=Path.cwd())
    write_text(job.output[0], json.dumps(record, indent=1, sort_keys=True) + "\n")
