"""Infer groups of a dataset from its images, and record which links joined them."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.grouping import infer
from gradfaith.storage import parquet
from gradfaith.storage.atomic import write_text

job = snakemake
settings = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    reader = registry.load("readers", settings["reader"])
    raw, options = Path(settings["raw"]) if settings["raw"] else None, reader.Options(**settings["options"])
    grouping = infer.group_dataset(reader, raw, options, settings["groups"], threads=job.threads)
    parquet.write(job.output.links, grouping.links, parquet.LINKS)
    write_text(job.output.report, json.dumps(grouping.report, indent=2) + "\n")
    parquet.write(job.output.groups, grouping.groups, parquet.GROUPS)
