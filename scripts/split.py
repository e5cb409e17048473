"""Split the images of a manifest into train, val and test, by group."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.dag import job_work
from gradfaith.data.manifest import readable_rows
from gradfaith.data.split import split, split_report
from gradfaith.storage import json_file, parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.vocabulary import PARTS

job = snakemake
settings = job.params.settings

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    origins = check_inputs(job.input)
    manifest = readable_rows(parquet.read(job.input[0], parquet.MANIFEST))
    shares = {part: settings[part] for part in PARTS}
    options = {key: settings[key] for key in ("classes", "tolerance", "seed", "by")}
    table = split(manifest, shares, **options)
    json_file.write(job.output.report, split_report(table, manifest, shares))
    parquet.write(job.output.table, table, parquet.SPLITS, origins)
