"""Test the claims of a study: sentences of papers as hypotheses with margins."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.result_settings import ClaimsSettings
from gradfaith.dag import job_work
from gradfaith.stats.claim_data import ClaimData
from gradfaith.stats.claims import Claim, evaluate_claims
from gradfaith.stats.estimates import SCORE_COLUMNS
from gradfaith.stats.image_scores import CONTEXT_KEYS
from gradfaith.stats.interval_scales import interval_rule
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.table_parts import TableParts

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = ClaimsSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    scores = TableParts.of(job.input.scores, parquet.SCORES, SCORE_COLUMNS, by=CONTEXT_KEYS, where={"part": "test"})
    manifest = parquet.read(job.input.manifest, parquet.MANIFEST)
    data = ClaimData(
        scores=lambda metrics: scores.select(scores.keys["metric"].isin(metrics)).joined(),
        predictions=parquet.read_per_model(job.input.predictions, parquet.PREDICTIONS),
        classification=parquet.read(job.input.classification, parquet.CLASSIFICATION),
        better=settings.better,
        controls=settings.controls,
        rule=interval_rule(settings.level, settings.min_groups, settings.bounds),
        several=set(manifest.loc[manifest["lesions"] > 1, "image_id"]),
    )
    claims = [Claim.of(claim.model_dump()) for claim in settings.claims]
    verdicts = evaluate_claims(claims, data, settings.min_accuracy)
    parquet.write(job.output[0], verdicts, parquet.CLAIMS, origins)
