"""Maps: one job per model and bundle."""


rule explain:
    input:
        images=paths.images,
        weights=paths.weights,
        card=paths.card,
        predictions=paths.predictions,
    output:
        paths.maps if study.keep.maps else temp(paths.maps),
    log:
        paths.log("explain", "arch", "seed", "bundle"),
    benchmark:
        paths.benchmark("explain", "arch", "seed", "bundle")
    conda:
        GPU_ENV
    threads: study.compute.threads
    resources:
        **job_resources.gpu(),
    params:
        settings=lambda w: rule_params.explain(w.arch, w.bundle),
        code=lambda w: rule_params.code_digest("explain", bundle=w.bundle),
        format=identity.STORE_FORMAT,
    message:
        "maps: {wildcards.bundle} on {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/explain.py"
