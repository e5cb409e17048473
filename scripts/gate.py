"""Let the study go on, or not, by what the audit says of its split."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.data.audit.report import verdict
from gradfaith.storage.atomic import write_text

job = snakemake

with gradfaith.runtime.job.running(job.log[0]):
    found = verdict(json.loads(Path(job.input.audit).read_text()), job.params.settings)
    write_text(job.output[0], json.dumps(found, indent=2) + "\n")
