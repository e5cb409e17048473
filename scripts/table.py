"""Write one table as Markdown, CSV and LaTeX."""

import json
from pathlib import Path

import gradfaith.job
from gradfaith import across_sheet, meta_sheet, rank_sheet, sheets, summary, tables
from gradfaith.atomic import write_text

job = snakemake
about = job.params.about

with gradfaith.job.running(job.log[0]):
    if job.params.which == "classification":
        predictions = tables.read_models(job.input.predictions, tables.PREDICTIONS)
        sheet = summary.classification(tables.read(job.input.classification, tables.CLASSIFICATION), predictions, about)
    elif job.params.which == "ranks":
        sheet = rank_sheet.ranks(tables.read(job.input.ranks, tables.RANKS), about)
    elif job.params.which == "meta":
        sheet = meta_sheet.meta(tables.read(job.input.meta, tables.META), about)
    elif job.params.which == "across":
        sheet = across_sheet.across(tables.read(job.input.estimates, tables.ESTIMATES), about)
    else:
        found = tables.read(job.input.estimates, tables.ESTIMATES)
        sheet = summary.maps(found, tables.read(job.input.contrasts, tables.CONTRASTS), about)
    sheet = sheets.warned(sheet, json.loads(Path(job.input.gate).read_text())["caution"])
    write_text(job.output.md, sheets.markdown(sheet))
    write_text(job.output.csv, sheets.csv(sheet))
    write_text(job.output.tex, sheets.latex(sheet))
