"""Stop the study if the audit says that its split leaks, before anything is trained."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.data.audit.report import check_leakage
from gradfaith.storage.atomic import write_text

job = snakemake

with gradfaith.runtime.job.running(job.log[0]):
    result = check_leakage(json.loads(Path(job.input.audit).read_text()), job.params.settings)
    write_text(job.output[0], json.dumps(result, indent=2) + "\n")
