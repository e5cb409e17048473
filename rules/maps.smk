"""Maps: one cell per model and bundle."""


rule explain:
    input:
        images=layout.images,
        weights=layout.weights,
        card=layout.card,
        predictions=layout.predictions,
    output:
        layout.maps if study.keep.maps else temp(layout.maps),
    log:
        layout.log("explain", "arch", "seed", "bundle"),
    benchmark:
        layout.benchmark("explain", "arch", "seed", "bundle")
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
        settings=lambda w: slices.bundle(w.arch, w.bundle),
        classes=plan.dataset.classes,
        code=lambda w: slices.code("explain", bundle=w.bundle),
    message:
        "maps: {wildcards.bundle} on {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/explain.py"
