"""Infer groups of a dataset from its images, and record the links between images."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import GroupSettings
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.data.grouping import infer
from gradfaith.data.raw_files import open_raw
from gradfaith.storage import json_file, parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import PROJECT

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = GroupSettings.of_params(job.params.settings)
    assert settings.groups is not None  # otherwise the job does not exist
    origins = check_inputs(job.input)
    raw = open_raw(settings, Plan.read(job.config, PROJECT).dataset.raw)
    grouping = infer.group_dataset(raw.reader, raw.folder, raw.options, settings.groups, threads=job.threads)
    parquet.write(job.output.links, grouping.links, parquet.LINKS, origins)
    json_file.write(job.output.report, grouping.report)
    parquet.write(job.output.groups, grouping.groups, parquet.GROUPS, origins)
