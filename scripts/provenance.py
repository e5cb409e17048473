"""Record where every number of the study comes from: its keys, data, models, code and versions."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.reporting import provenance
from gradfaith.storage import hdf5
from gradfaith.storage.atomic import write_text
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0]), hdf5.ImageStore(job.input.images) as images:
    check_inputs(job.input)
    audit, splits = (json.loads(Path(path).read_text()) for path in (job.input.audit, job.input.splits))
    record = provenance.collect_provenance(job.params.study, job.params.code, images, audit, splits, job.input.cards)
    write_text(job.output[0], json.dumps(record, indent=2) + "\n")
