"""Record the provenance of the study's numbers: its keys, data, models, code and versions."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.result_settings import ProvenanceSettings
from gradfaith.dag import job_work
from gradfaith.reporting import provenance
from gradfaith.storage import hdf5, json_file
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), hdf5.ImageStore(job.input.images) as images:
    settings = ProvenanceSettings.of_params(job.params.settings)
    check_inputs(job.input)
    audit, splits = (json_file.read(path) for path in (job.input.audit, job.input.splits))
    record = provenance.collect_provenance(settings, job.params.code, images, audit, splits, job.input.cards)
    json_file.write(job.output[0], record)
