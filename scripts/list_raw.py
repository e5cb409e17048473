"""List the raw files that the study reads, with size and SHA-256."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import DataSettings
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.data import raw_files
from gradfaith.storage.paths import PROJECT, raw_digests

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = DataSettings.of_params(job.params.settings)
    raw = raw_files.open_raw(settings, Plan.read(job.config, PROJECT).dataset.raw)
    raw_files.write_listing(job.output[0], raw_files.list_files(raw, raw_digests(settings.name)))
