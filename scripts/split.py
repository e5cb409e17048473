"""Split the images of a manifest into train, val and test, by group."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import SplitSettings
from gradfaith.dag import job_work
from gradfaith.data.manifest import readable_rows
from gradfaith.data.split import split, split_report
from gradfaith.storage import json_file, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = SplitSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    manifest = readable_rows(parquet.read(job.input[0], parquet.MANIFEST))
    table = split(
        manifest,
        settings.shares,
        classes=settings.classes,
        tolerance=settings.tolerance,
        seed=settings.seed,
        by=settings.by,
    )
    json_file.write(job.output.report, split_report(table, manifest, settings.shares))
    parquet.write(job.output.table, table, parquet.SPLITS, origins)
