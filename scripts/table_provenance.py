"""Record the provenance of the numbers of a study of tables: its keys, table, models, code and versions."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.result_settings import ProvenanceSettings
from gradfaith.dag import job_work
from gradfaith.reporting import provenance
from gradfaith.storage import json_file
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = ProvenanceSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    audit, splits = (json_file.read(path) for path in (job.input.audit, job.input.splits))
    cards = [json_file.read(path) for path in job.input.cards]
    record = provenance.collect_table_provenance(
        settings, job.params.code, origins[job.input.table], audit, splits, cards
    )
    json_file.write(job.output[0], record)
