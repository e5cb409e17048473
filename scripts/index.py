"""Read a dataset's raw folder into its manifest."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.manifest import build
from gradfaith.storage import parquet

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    raw, options = Path(asked["raw"]) if asked["raw"] else None, reader.Options(**asked["options"])
    groups = (
        parquet.read(job.input.groups, parquet.GROUPS).set_index("image_id")["group"] if job.input.get("groups") else {}
    )
    found = build(
        reader, raw, options, asked["classes"], groups=dict(groups), max_bad=asked["max_bad_files"], threads=job.threads
    )
    parquet.write(job.output[0], found, parquet.MANIFEST)
