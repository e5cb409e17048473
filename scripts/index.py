"""Read a dataset's raw folder into its manifest."""

from pathlib import Path

import gradfaith.job
from gradfaith import registry, tables
from gradfaith.data.manifest import build

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    raw, options = Path(asked["raw"]) if asked["raw"] else None, reader.Options(**asked["options"])
    groups = (
        tables.read(job.input.groups, tables.GROUPS).set_index("image_id")["group"] if job.input.get("groups") else {}
    )
    found = build(
        reader, raw, options, asked["classes"], groups=dict(groups), max_bad=asked["max_bad_files"], threads=job.threads
    )
    tables.write(job.output[0], found, tables.MANIFEST)
