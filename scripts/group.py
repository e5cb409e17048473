"""Infer groups from a dataset's images, and keep what joined them."""

import json
from pathlib import Path

import gradfaith.job
from gradfaith import registry, tables
from gradfaith.atomic import write_text
from gradfaith.data import inference

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    raw, options = Path(asked["raw"]) if asked["raw"] else None, reader.Options(**asked["options"])
    found = inference.run(reader, raw, options, asked["groups"], threads=job.threads)
    tables.write(job.output.links, found.links, tables.LINKS)
    write_text(job.output.report, json.dumps(found.report, indent=2) + "\n")
    tables.write(job.output.groups, found.groups, tables.GROUPS)
