"""Split a manifest by group."""

import json

import gradfaith.runtime.job
from gradfaith.data.manifest import usable
from gradfaith.data.split import PARTS, report, split
from gradfaith.storage import parquet
from gradfaith.storage.atomic import write_text

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    manifest = usable(parquet.read(job.input[0], parquet.MANIFEST))
    shares = {part: asked[part] for part in PARTS}
    how = {key: asked[key] for key in ("classes", "tolerance", "seed", "by")}
    table = split(manifest, shares, **how)
    write_text(job.output.report, json.dumps(report(table, manifest, shares), indent=2) + "\n")
    parquet.write(job.output.table, table, parquet.SPLITS)
