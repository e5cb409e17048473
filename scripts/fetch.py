"""Bring a dataset's images in, from the first of its sources that has them."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.config.dataset import Source
from gradfaith.data.fetch.dataset_files import fetch
from gradfaith.storage.atomic import write_text

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    known = Path(asked["files"]) if asked["files"] else None
    record = fetch(
        [Source(**source) for source in asked["sources"]], Path(job.output[0]).parent, known, root=Path.cwd()
    )
    write_text(job.output[0], json.dumps(record, indent=1, sort_keys=True) + "\n")
