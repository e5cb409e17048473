"""Data: from raw files to one store of images, split by group."""


rule index:
    input:
        plan.raw_files(),
    output:
        layout.manifest,
    log:
        layout.home_log("index"),
    benchmark:
        layout.home_benchmark("index")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=1000,
        runtime=study.compute.short_runtime,
    params:
        settings=slices.data(),
        code=slices.code("index"),
    message:
        "index of {plan.dataset.name}"
    script:
        "../scripts/index.py"


rule audit:
    input:
        layout.manifest,
    output:
        layout.audit,
    log:
        layout.home_log("audit"),
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=study.compute.short_runtime,
    params:
        code=slices.code("audit"),
    message:
        "audit of {plan.dataset.name}"
    script:
        "../scripts/audit.py"


rule split:
    input:
        layout.manifest,
    output:
        table=layout.splits,
        report=layout.split_report,
    log:
        layout.home_log("split"),
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=study.compute.short_runtime,
    params:
        settings=slices.split(),
        code=slices.code("split"),
    message:
        "split by {study.split.by}"
    script:
        "../scripts/split.py"


rule pack:
    input:
        raw=plan.raw_files(),
        manifest=layout.manifest,
        splits=layout.splits,
    output:
        layout.images,
    log:
        layout.home_log("pack"),
    benchmark:
        layout.home_benchmark("pack")
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=study.compute.short_runtime,
    params:
        settings=slices.pack(),
        code=slices.code("pack"),
    message:
        "images at {study.image.size} px"
    script:
        "../scripts/pack.py"
