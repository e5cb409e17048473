"""Split a manifest by group."""

import json

import gradfaith.job
from gradfaith import tables
from gradfaith.atomic import write_text
from gradfaith.data.manifest import usable
from gradfaith.data.split import PARTS, report, split

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]):
    manifest = usable(tables.read(job.input[0], tables.MANIFEST))
    shares = {part: asked[part] for part in PARTS}
    how = {key: asked[key] for key in ("classes", "tolerance", "seed", "by")}
    table = split(manifest, shares, **how)
    write_text(job.output.report, json.dumps(report(table, manifest, shares), indent=2) + "\n")
    tables.write(job.output.table, table, tables.SPLITS)
