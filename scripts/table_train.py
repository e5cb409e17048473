"""Fit one model to the training part of a table, and predict every row."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.attribution.tabular import cell
from gradfaith.config.tabular import TableTrainSettings
from gradfaith.dag import table_work
from gradfaith.models.tabular.contract import save_model
from gradfaith.storage import json_file, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], table_work.recorder(job)):
    settings = TableTrainSettings.of_params(job.params.settings)
    check_inputs(job.input)
    rows = cell.TableRows.of(
        parquet.read(job.input.table, parquet.TABLE), parquet.read(job.input.splits, parquet.SPLITS)
    )
    columns = json_file.read(job.input.audit)["columns"]
    identity = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    model = cell.fit_on_table(rows, columns, settings.model, settings.task, identity["seed"])
    save_model(job.output.weights, job.output.card, model, identity)
    manifest = parquet.read(job.input.manifest, parquet.MANIFEST)
    predictions = cell.predict_table(rows, model, manifest)
    origins = check_inputs([*job.input, job.output.card])
    parquet.write(job.output.predictions, predictions, parquet.PREDICTIONS, origins)
