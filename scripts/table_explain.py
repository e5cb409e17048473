"""Explain some rows of a table by every method of the study, on one model."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.attribution.tabular import cell
from gradfaith.config.tabular import TableExplainSettings
from gradfaith.dag import table_work
from gradfaith.models.tabular.contract import load_model
from gradfaith.storage import json_file, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], table_work.recorder(job)):
    settings = TableExplainSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    rows = cell.TableRows.of(
        parquet.read(job.input.table, parquet.TABLE), parquet.read(job.input.splits, parquet.SPLITS)
    )
    scale = settings.explain.score if settings.task == "classification" else None
    model = load_model(job.input.weights, job.input.card, scale)
    manifest = parquet.read(job.input.manifest, parquet.MANIFEST)
    attributions = cell.explain_table(rows, manifest, model, settings, int(job.wildcards.seed))
    parquet.write(job.output.attributions, attributions, parquet.ATTRIBUTIONS, origins)
    columns = json_file.read(job.input.audit)["columns"]
    grid = cell.boundary_grid(rows, columns, model, settings.explain.boundary)
    parquet.write(job.output.boundary, grid, parquet.BOUNDARY, origins)
