"""Write one table as Markdown, CSV and LaTeX."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.reporting.tables import across, maps, meta, ranks
from gradfaith.reporting.tables import sheet as sheet_tables
from gradfaith.storage import parquet
from gradfaith.storage.atomic import write_text

job = snakemake
about = job.params.about

with gradfaith.runtime.job.running(job.log[0]):
    if job.params.which == "classification":
        predictions = parquet.read_models(job.input.predictions, parquet.PREDICTIONS)
        sheet = maps.classification(parquet.read(job.input.classification, parquet.CLASSIFICATION), predictions, about)
    elif job.params.which == "ranks":
        sheet = ranks.ranks(parquet.read(job.input.ranks, parquet.RANKS), about)
    elif job.params.which == "across":
        sheet = across.across(parquet.read(job.input.estimates, parquet.ESTIMATES), about)
    elif job.params.which == "meta":
        sheet = meta.meta(parquet.read(job.input.meta, parquet.META), about)
    else:
        found = parquet.read(job.input.estimates, parquet.ESTIMATES)
        sheet = maps.maps(found, parquet.read(job.input.contrasts, parquet.CONTRASTS), about)
    sheet = sheet_tables.warned(sheet, json.loads(Path(job.input.gate).read_text())["caution"])
    write_text(job.output.md, sheet_tables.markdown(sheet))
    write_text(job.output.csv, sheet_tables.csv(sheet))
    write_text(job.output.tex, sheet_tables.latex(sheet))
