"""Let the study go on, or not, by what the audit says of its split."""

import json
from pathlib import Path

import gradfaith.job
from gradfaith.atomic import write_text
from gradfaith.data.gate import verdict

job = snakemake

with gradfaith.job.running(job.log[0]):
    found = verdict(json.loads(Path(job.input.audit).read_text()), job.params.settings)
    write_text(job.output[0], json.dumps(found, indent=2) + "\n")
