"""Turn scores and predictions into estimates, contrasts, ranks and classification tables with intervals."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.result_settings import EstimateSettings
from gradfaith.dag import job_work
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.comparisons import Comparisons, is_comparable, is_compared
from gradfaith.stats.contrasts import NamedContrast, estimate_contrasts
from gradfaith.stats.estimates import SCORE_COLUMNS, add_lesion_sizes, estimate_scores, lesion_size
from gradfaith.stats.image_scores import CONTEXT_KEYS
from gradfaith.stats.interval_scales import interval_rule
from gradfaith.stats.intervals import ESTIMAND
from gradfaith.stats.winrates import estimate_winrates
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.table_parts import TableParts

job = snakemake
with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = EstimateSettings.of_params(job.params.settings)
    origins, controls, better = check_inputs(job.input), settings.controls, settings.better
    scores = TableParts.of(job.input.scores, parquet.SCORES, SCORE_COLUMNS, by=CONTEXT_KEYS, where={"part": "test"})
    sizes = lesion_size(parquet.read(job.input.manifest, parquet.MANIFEST), scores.distinct("image_id"))
    rule = interval_rule(settings.level, settings.min_groups, settings.bounds, settings.seed_variance)
    estimates = estimate_scores(add_lesion_sizes(scores, sizes), by=("label", "lesion_size"), rule=rule)
    parquet.write(job.output.estimates, estimates, parquet.ESTIMATES, origins, ESTIMAND)
    asked = Comparisons(scores.distinct("method"), controls, better, **settings.comparisons.model_dump())
    primary = NamedContrast(**settings.primary.model_dump())
    training = TableParts.of(job.input.scores, parquet.SCORES, SCORE_COLUMNS, by=CONTEXT_KEYS, where={"part": "train"})
    contrasts = estimate_contrasts(scores.select(is_compared(scores.keys)), asked, primary, rule, training)
    parquet.write(job.output.contrasts, contrasts, parquet.CONTRASTS, origins, ESTIMAND)
    ranks = estimate_winrates(scores.select(is_comparable(scores.keys)), controls, better, rule=rule,
                              control_placement=settings.rank_controls, only_correct=settings.rank_only_correct)  # fmt: skip
    parquet.write(job.output.ranks, ranks, parquet.RANKS, origins, ESTIMAND)
    predictions = parquet.read_per_model(job.input.predictions, parquet.PREDICTIONS)
    classification = estimate_classification(predictions, settings.classes, rule=rule)
    parquet.write(job.output.classification, classification, parquet.CLASSIFICATION, origins, ESTIMAND)
