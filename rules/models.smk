"""Models: one training per architecture and seed, or another study's models as they are, and what they predict."""


rule weights:
    output:
        weights=protected(layout.pretrained("{timm}")),
        record=layout.pretrained_record("{timm}"),
    log:
        "resources/weights/{timm}.log",
    benchmark:
        "resources/weights/{timm}.benchmark"
    retries: 2
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    message:
        "pretrained weights of {wildcards.timm}"
    script:
        "../scripts/weights.py"


if study.external:

    rule adopt:  # another study's weights stay where they are; what they answer here is on a card of this study
        input:
            weights=layout.weights,
            card=layout.trained_card,
            predictions=layout.trained_predictions,
        output:
            layout.card,
        log:
            layout.home_log("adopt", "arch", "seed"),
        benchmark:
            layout.home_benchmark("adopt", "arch", "seed")
        conda:
            "../envs/cpu.yaml"
        resources:
            mem_mb=asks(study.compute.mem_mb),
            runtime=asks(study.compute.short_runtime),
            probed=lambda w: plan.probed(w.arch),  # methods
        params:
            settings=slices.adopt(),
        message:
            "take {wildcards.arch}, seed {wildcards.seed}, from {study.external}"
        script:
            "../scripts/adopt.py"

else:

    rule train:
        input:
            images=layout.images,
            manifest=layout.manifest,
            splits=layout.splits,
            gate=ancient(layout.gate),  # must be passed, and decides no weight
            weights=lambda w: plan.starting_weights(w.arch) or [],
        output:
            weights=layout.weights,
            card=layout.card,
            history=layout.history,
        log:
            layout.home_log("train", "arch", "seed"),
        benchmark:
            layout.home_benchmark("train", "arch", "seed")
        # Each goes on where the last one ended. Inside a submitted job none: its memory and minutes stay what they are.
        retries: 2 if workflow.is_main_process else 0
        conda:
            GPU_ENV
        threads: plan.recipe_threads
        resources:
            gpu=study.compute.gpus,
            mem_mb=asks(study.compute.mem_mb),
            runtime=asks(study.compute.runtime),
            device=study.compute.device,
            probed=lambda w: plan.probed(w.arch),  # methods, probed before training; they decide no weight
            images=study.compute.images,
            save_seconds=study.compute.save_seconds,
            tensorboard=int(study.compute.tensorboard),
        params:
            settings=lambda w: slices.model(w.arch),
            recipe_version=plan.recipe_version,
        message:
            "train {wildcards.arch}, seed {wildcards.seed}"
        script:
            "../scripts/train.py"


rule predict:
    input:
        images=layout.images,
        weights=layout.weights,
        card=layout.card,
        manifest=layout.manifest,
        splits=layout.splits,
    output:
        layout.predictions,
    log:
        layout.home_log("predict", "arch", "seed"),
    benchmark:
        layout.home_benchmark("predict", "arch", "seed")
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
        classes=plan.dataset.classes,
        code=slices.code("predict"),
    message:
        "predict with {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/predict.py"
