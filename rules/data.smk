"""Data: from raw files to one store of images, split by group."""

if plan.dataset.fetched:

    rule fetch:
        output:
            layout.fetched(plan.dataset.name),
        log:
            f"resources/{plan.dataset.name}/fetch.log",
        benchmark:
            f"resources/{plan.dataset.name}/fetch.benchmark"
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            mem_mb=asks(1000),
            runtime=asks(study.compute.runtime),
        params:
            settings=slices.fetch(),
        message:
            "fetch {plan.dataset.name}"
        script:
            "../scripts/fetch.py"

else:  # what lies ready, or is computed

    rule fetch:
        input:
            plan.raw_files(),


rule group:
    input:
        plan.raw_files(),
    output:
        groups=layout.groups,
        links=layout.links,
        report=layout.groups_report,
    log:
        layout.home_log("group"),
    benchmark:
        layout.home_benchmark("group")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.data_threads
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.group(),
        code=slices.code("group"),
    message:
        "groups of {plan.dataset.name}, inferred from its images"
    script:
        "../scripts/group.py"


rule index:
    input:
        plan.raw_files(),
        **({"groups": layout.groups} if plan.dataset.groups else {}),
    output:
        layout.manifest,
    log:
        layout.home_log("index"),
    benchmark:
        layout.home_benchmark("index")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.data_threads
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.index(),
        code=slices.code("index"),
    message:
        "index of {plan.dataset.name}"
    script:
        "../scripts/index.py"


rule audit:
    input:
        **({"groups": layout.groups_report} if plan.dataset.groups else {}),
        **plan.trained_on(),
        raw=plan.raw_files(),
        manifest=layout.manifest,
        splits=layout.splits,
        images=layout.images,
    output:
        layout.audit,
    log:
        layout.home_log("audit"),
    benchmark:
        layout.home_benchmark("audit")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.data_threads
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.audit(),
        code=slices.code("audit"),
    message:
        "audit of {plan.dataset.name}"
    script:
        "../scripts/audit.py"


rule gate:  # a split that leaks ends the study here, before anything is trained
    input:
        audit=layout.audit,
    output:
        layout.gate,
    log:
        layout.home_log("gate"),
    benchmark:
        layout.home_benchmark("gate")
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=asks(1000),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.gate(),
        code=slices.code("gate"),
    message:
        "does the split leak?"
    script:
        "../scripts/gate.py"


rule split:
    input:
        layout.manifest,
    output:
        table=layout.splits,
        report=layout.split_report,
    log:
        layout.home_log("split"),
    benchmark:
        layout.home_benchmark("split")
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=asks(1000),
        runtime=asks(study.compute.short_runtime),
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
    threads: study.compute.data_threads
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.pack(),
        code=slices.code("pack"),
    message:
        "images at {study.image.size} px"
    script:
        "../scripts/pack.py"
