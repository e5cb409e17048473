"""Score the attributions to all models of one kind."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.attribution.tabular.cell import TableRows
from gradfaith.config.tabular import TableScoreSettings
from gradfaith.dag import table_work
from gradfaith.models.tabular.contract import load_model
from gradfaith.scoring import tabular
from gradfaith.storage import parquet
from gradfaith.storage.identity import Identity
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], table_work.recorder(job)):
    settings = TableScoreSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    rows = TableRows.of(parquet.read(job.input.table, parquet.TABLE), parquet.read(job.input.splits, parquet.SPLITS))
    scale = settings.score if settings.task == "classification" else None
    models = {}
    for found, weights, card, said in zip(
        job.input.attributions, job.input.weights, job.input.cards, job.input.predictions, strict=True
    ):
        model, attributions = load_model(weights, card, scale), parquet.read(found, parquet.ATTRIBUTIONS)
        predictions = parquet.read(said, parquet.PREDICTIONS)
        models[Identity.of_place(found).seed] = tabular.ScoredModel(model, attributions, rows, predictions)
    rules = tabular.ScoreRules(
        settings.metrics, settings.imputers, settings.exact, settings.additive, seed=settings.seed
    )
    with parquet.writing(job.output[0], parquet.SCORES, origins) as add:
        for scores in tabular.score_models(models, rules, job.wildcards.arch):
            add(scores)
