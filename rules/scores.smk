"""Scores: a number per map, by family of metrics, then all in one table."""


rule faithfulness:
    input:
        images=layout.images,
        weights=layout.weights,
        card=layout.card,
        predictions=layout.predictions,
        maps=layout.maps,
    output:
        scores=layout.faithfulness,
        curves=layout.faithfulness_curves,
    log:
        layout.log("faithfulness", "arch", "seed", "bundle", "battery"),
    benchmark:
        layout.benchmark("faithfulness", "arch", "seed", "bundle", "battery")
    conda:
        GPU_ENV
    threads: study.compute.threads
    resources:
        gpu=study.compute.gpus,
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
        device=study.compute.device,
        chunk=study.compute.chunk,
    params:
        settings=lambda w: slices.battery(w.arch, w.bundle, w.battery),
        code=lambda w: slices.code("faithfulness", bundle=w.bundle, battery=w.battery),
    message:
        "faithfulness: {wildcards.battery} of {wildcards.bundle} on {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/faithfulness.py"


rule localization:
    input:
        images=layout.images,
        predictions=layout.predictions,
        maps=lambda w: expand(
            layout.maps, bundle=plan.cells(w.arch), arch=w.arch, seed=w.seed
        ),
    output:
        layout.localization,
    log:
        layout.log("localization", "arch", "seed"),
    benchmark:
        layout.benchmark("localization", "arch", "seed")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.metrics("localization"),
        code=slices.code("localization"),
    message:
        "localization on {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/localization.py"


rule agreement:
    input:
        images=layout.images,
        predictions=expand(layout.predictions, seed=study.seeds[:1], allow_missing=True),
        maps=lambda w: plan.maps(w.arch),
    output:
        layout.agreement,
    log:
        layout.log("agreement", "arch"),
    benchmark:
        layout.benchmark("agreement", "arch")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.metrics("agreement"),
        bundles=lambda w: plan.cells(w.arch),
        seeds=study.seeds,
        code=slices.code("agreement"),
    message:
        "agreement between the seeds of {wildcards.arch}"
    script:
        "../scripts/agreement.py"


if study.across:

    rule across:
        input:
            images=layout.images,
            predictions=plan.every(layout.predictions)[:1],
            maps=expand(
                layout.maps,
                arch=plan.architectures,
                seed=study.seeds,
                bundle=plan.bundles,
            ),
        output:
            layout.across,
        log:
            layout.log("across"),
        benchmark:
            layout.benchmark("across")
        conda:
            "../envs/cpu.yaml"
        threads: study.compute.threads
        resources:
            mem_mb=asks(study.compute.mem_mb),
            runtime=asks(study.compute.short_runtime),
        params:
            settings=slices.across(),
            bundles=list(plan.bundles),
            architectures=plan.architectures,
            seeds=study.seeds,
            code=slices.code("across"),
        message:
            "agreement across architectures"
        script:
            "../scripts/across.py"


if study.randomisation:

    rule randomise:
        input:
            images=layout.images,
            weights=layout.weights,
            card=layout.card,
            predictions=layout.predictions,
            maps=layout.maps,
        output:
            layout.randomisation,
        log:
            layout.log("randomise", "arch", "seed", "bundle"),
        benchmark:
            layout.benchmark("randomise", "arch", "seed", "bundle")
        conda:
            GPU_ENV
        threads: study.compute.threads
        resources:
            gpu=study.compute.gpus,
            mem_mb=asks(study.compute.mem_mb),
            runtime=asks(study.compute.short_runtime),
            device=study.compute.device,
            chunk=study.compute.chunk,
        params:
            settings=lambda w: slices.randomisation(w.arch, w.bundle),
            code=lambda w: slices.code("randomise", bundle=w.bundle),
        message:
            "randomised: {wildcards.bundle} on {wildcards.arch}, seed {wildcards.seed}"
        script:
            "../scripts/randomise.py"


rule collect:
    input:
        scores=plan.score_tables(),
        curves=plan.curve_tables(),
    output:
        scores=layout.scores,
        curves=layout.curves,
    log:
        layout.log("collect"),
    benchmark:
        layout.benchmark("collect")
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        composite=slices.composite(),
        code=slices.code("collect"),
    message:
        "all scores in one table"
    script:
        "../scripts/collect.py"
