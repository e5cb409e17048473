"""Data: convert raw files to one store of images, split by group."""

if plan.dataset.fetched:

    rule fetch:
        output:
            paths.fetched(plan.dataset.name),
        log:
            paths.beside(paths.fetched(plan.dataset.name), ".log"),
        benchmark:
            paths.beside(paths.fetched(plan.dataset.name), ".benchmark")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            **job_resources.light(minutes=study.compute.runtime),
        params:
            settings=rule_params.fetch(),
        message:
            "fetch {plan.dataset.name}"
        script:
            "../scripts/fetch.py"

else:  # the images are in a local folder, or computed

    rule fetch:
        input:
            plan.raw_inputs(),


if plan.dataset.raw:

    rule list_raw:  # the only raw input of later rules: Snakemake sees neither unread files nor file names
        input:
            paths.fetched(plan.dataset.name) if plan.dataset.fetched else [],
        output:
            paths.raw_listing(plan.dataset.name),
        log:
            paths.beside(paths.raw_listing(plan.dataset.name), ".log"),
        benchmark:
            paths.beside(paths.raw_listing(plan.dataset.name), ".benchmark")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            **job_resources.light(minutes=study.compute.runtime),
        params:
            settings=rule_params.list_raw(),
            content=lambda w: rule_params.raw_content(),
            code=rule_params.code_digest("list_raw"),
        message:
            "raw files of {plan.dataset.name}"
        script:
            "../scripts/list_raw.py"


rule group:
    input:
        plan.raw_inputs(),
    output:
        groups=paths.groups,
        links=paths.links,
        report=paths.groups_report,
    log:
        paths.home_log("group"),
    benchmark:
        paths.home_benchmark("group")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.data_threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.group(),
        code=rule_params.code_digest("group"),
        format=identity.TABLE_FORMAT,
    message:
        "groups of {plan.dataset.name}, inferred from its images"
    script:
        "../scripts/group.py"


rule index:
    input:
        **(
            {"listing": paths.raw_listing(plan.dataset.name)}
            if plan.dataset.raw
            else {}
        ),
        **({"groups": paths.groups} if plan.dataset.inferred_groups else {}),
    output:
        paths.manifest,
    log:
        paths.home_log("index"),
    benchmark:
        paths.home_benchmark("index")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.data_threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.index(),
        code=rule_params.code_digest("index"),
        format=identity.TABLE_FORMAT,
    message:
        "index of {plan.dataset.name}"
    script:
        "../scripts/index.py"


rule audit:
    input:
        **({"groups": paths.groups_report} if plan.dataset.inferred_groups else {}),
        **plan.external_training_data(),
        raw=plan.raw_inputs(),
        manifest=paths.manifest,
        splits=paths.splits,
        images=paths.images,
    output:
        paths.audit,
    log:
        paths.home_log("audit"),
    benchmark:
        paths.home_benchmark("audit")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.data_threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.audit(),
        code=rule_params.code_digest("audit"),
    message:
        "audit of {plan.dataset.name}"
    script:
        "../scripts/audit.py"


rule leakage_check:  # a split that leaks stops the study here, before any training
    input:
        audit=paths.audit,
    output:
        paths.leakage_check,
    log:
        paths.home_log("leakage_check"),
    benchmark:
        paths.home_benchmark("leakage_check")
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.light(),
    params:
        settings=rule_params.leakage_check(),
        code=rule_params.code_digest("leakage_check"),
    message:
        "check the split for leakage"
    script:
        "../scripts/leakage_check.py"


rule split:
    input:
        paths.manifest,
    output:
        table=paths.splits,
        report=paths.split_report,
    log:
        paths.home_log("split"),
    benchmark:
        paths.home_benchmark("split")
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.light(),
    params:
        settings=rule_params.split(),
        code=rule_params.code_digest("split"),
        format=identity.TABLE_FORMAT,
    message:
        "split by {study.split.by}"
    script:
        "../scripts/split.py"


rule pack_images:
    input:
        raw=plan.raw_inputs(),
        manifest=paths.manifest,
        splits=paths.splits,
    output:
        paths.images,
    log:
        paths.home_log("pack_images"),
    benchmark:
        paths.home_benchmark("pack_images")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.data_threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.pack_images(),
        code=rule_params.code_digest("pack_images"),
        format=identity.STORE_FORMAT,
    message:
        "images at {study.image.size} px"
    script:
        "../scripts/pack_images.py"
