"""Scores: one number per map and metric, by family of metrics, then merged into one table."""


rule faithfulness:
    input:
        images=paths.images,
        weights=paths.weights,
        card=paths.card,
        predictions=paths.predictions,
        maps=paths.maps,
    output:
        scores=paths.faithfulness,
        curves=paths.faithfulness_curves,
    log:
        paths.log("faithfulness", "arch", "seed", "bundle", "battery"),
    benchmark:
        paths.benchmark("faithfulness", "arch", "seed", "bundle", "battery")
    conda:
        GPU_ENV
    threads: study.compute.threads
    resources:
        **job_resources.gpu(),
    params:
        settings=lambda w: rule_params.faithfulness(w.arch, w.bundle, w.battery),
        code=lambda w: rule_params.code_digest(
            "faithfulness", bundle=w.bundle, battery=w.battery
        ),
        format=identity.TABLE_FORMAT,
    message:
        "faithfulness: {wildcards.battery} of {wildcards.bundle} on {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/faithfulness.py"


rule localization:
    input:
        images=paths.images,
        predictions=paths.predictions,
        maps=lambda w: expand(
            paths.maps, bundle=plan.bundles_of(w.arch), arch=w.arch, seed=w.seed
        ),
    output:
        paths.localization,
    log:
        paths.log("localization", "arch", "seed"),
    benchmark:
        paths.benchmark("localization", "arch", "seed")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.localization(),
        code=rule_params.code_digest("localization"),
        format=identity.TABLE_FORMAT,
    message:
        "localization on {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/localization.py"


rule agreement:
    input:
        images=paths.images,
        predictions=expand(paths.predictions, seed=study.seeds[:1], allow_missing=True),
        maps=lambda w: plan.map_stores(w.arch),
    output:
        paths.agreement,
    log:
        paths.log("agreement", "arch"),
    benchmark:
        paths.benchmark("agreement", "arch")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.agreement(),
        code=rule_params.code_digest("agreement"),
        format=identity.TABLE_FORMAT,
    message:
        "agreement between the seeds of {wildcards.arch}"
    script:
        "../scripts/agreement.py"


if study.across:

    rule across:
        input:
            images=paths.images,
            predictions=plan.per_model(paths.predictions),
            maps=expand(
                paths.maps,
                arch=plan.architectures,
                seed=study.seeds,
                bundle=plan.bundles,
            ),
        output:
            paths.across,
        log:
            paths.log("across"),
        benchmark:
            paths.benchmark("across")
        conda:
            "../envs/cpu.yaml"
        threads: study.compute.threads
        resources:
            **job_resources.cpu(),
        params:
            settings=rule_params.across(),
            code=rule_params.code_digest("across"),
            format=identity.TABLE_FORMAT,
        message:
            "agreement and localization across architectures"
        script:
            "../scripts/across.py"


if study.randomisation:

    rule randomise:
        input:
            images=paths.images,
            weights=paths.weights,
            card=paths.card,
            predictions=paths.predictions,
            maps=paths.maps,
        output:
            paths.randomisation,
        log:
            paths.log("randomise", "arch", "seed", "bundle"),
        benchmark:
            paths.benchmark("randomise", "arch", "seed", "bundle")
        conda:
            GPU_ENV
        threads: study.compute.threads
        resources:
            **job_resources.gpu(),
        params:
            settings=lambda w: rule_params.randomise(w.arch, w.bundle),
            code=lambda w: rule_params.code_digest("randomise", bundle=w.bundle),
            format=identity.TABLE_FORMAT,
        message:
            "sanity check: {wildcards.bundle} on randomised {wildcards.arch}, seed {wildcards.seed}"
        script:
            "../scripts/randomise.py"


rule merge_scores:
    input:
        scores=plan.score_tables(),
        curves=plan.curve_tables(),
    output:
        scores=paths.scores,
        curves=paths.curves,
    log:
        paths.log("merge_scores"),
    benchmark:
        paths.benchmark("merge_scores")
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.merge_scores(),
        code=rule_params.code_digest("merge_scores"),
        format=identity.TABLE_FORMAT,
    message:
        "all scores in one table"
    script:
        "../scripts/merge_scores.py"
