"""Infer groups from a dataset's images, and keep what joined them."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.grouping import infer as grouping_job
from gradfaith.storage import parquet
from gradfaith.storage.atomic import write_text

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    raw, options = Path(asked["raw"]) if asked["raw"] else None, reader.Options(**asked["options"])
    found = grouping_job.run(reader, raw, options, asked["groups"], threads=job.threads)
    parquet.write(job.output.links, found.links, parquet.LINKS)
    write_text(job.output.report, json.dumps(found.report, indent=2) + "\n")
    parquet.write(job.output.groups, found.groups, parquet.GROUPS)
