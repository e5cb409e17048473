"""Tables: read and split the rows, fit models, explain them, score the attributions. Results are those of any study."""

if plan.sources:

    rule fetch:
        output:
            paths.fetched(study.table.source),
        log:
            paths.beside(paths.fetched(study.table.source), ".log"),
        benchmark:
            paths.beside(paths.fetched(study.table.source), ".benchmark")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            **job_resources.light(minutes=study.compute.runtime),
        params:
            settings=rule_params.fetch(),
        message:
            "fetch {study.table.source}"
        script:
            "../scripts/fetch.py"


rule table_index:
    input:
        ancient(plan.raw_inputs()),  # a file of one's own counts by its content, below
    output:
        table=paths.of_table("table"),
        manifest=paths.manifest,
        splits=paths.splits,
        split_report=paths.split_report,
        audit=paths.audit,
        leakage_check=paths.leakage_check,
    log:
        paths.log("table_index"),
    benchmark:
        paths.benchmark("table_index")
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.table_index(),
        content=rule_params.raw_content(),
        code=rule_params.code_digest("table_index"),
        format=identity.TABLE_FORMAT,
    message:
        "rows of the table, their split and their audit"
    script:
        "../scripts/table_index.py"


rule table_train:
    input:
        table=paths.of_table("table"),
        splits=paths.splits,
        manifest=paths.manifest,
        audit=paths.audit,
    output:
        weights=paths.weights,
        card=paths.card,
        predictions=paths.predictions,
    log:
        paths.log("table_train", "arch", "seed"),
    benchmark:
        paths.benchmark("table_train", "arch", "seed")
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.cpu(),
    params:
        settings=lambda w: rule_params.table_train(w.arch),
        code=lambda w: rule_params.code_digest("table_train", arch=w.arch),
        format=identity.CARD_FORMAT,
    message:
        "fit {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/table_train.py"


rule table_explain:
    input:
        table=paths.of_table("table"),
        splits=paths.splits,
        manifest=paths.manifest,
        audit=paths.audit,
        weights=paths.weights,
        card=paths.card,
    output:
        attributions=paths.of_table("attributions"),
        boundary=paths.of_table("boundary"),
    log:
        paths.log("table_explain", "arch", "seed"),
    benchmark:
        paths.benchmark("table_explain", "arch", "seed")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.table_explain(),
        code=lambda w: rule_params.code_digest("table_explain", arch=w.arch),
        format=identity.TABLE_FORMAT,
    message:
        "explain {wildcards.arch}, seed {wildcards.seed}"
    script:
        "../scripts/table_explain.py"


rule table_scores:
    input:
        table=paths.of_table("table"),
        splits=paths.splits,
        attributions=expand(
            paths.of_table("attributions"), seed=study.seeds, allow_missing=True
        ),
        weights=expand(paths.weights, seed=study.seeds, allow_missing=True),
        cards=expand(paths.card, seed=study.seeds, allow_missing=True),
        predictions=expand(paths.predictions, seed=study.seeds, allow_missing=True),
    output:
        paths.of_table("table_scores"),
    log:
        paths.log("table_scores", "arch"),
    benchmark:
        paths.benchmark("table_scores", "arch")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.table_scores(),
        code=lambda w: rule_params.code_digest("table_scores", arch=w.arch),
        format=identity.TABLE_FORMAT,
    message:
        "scores of the attributions to {wildcards.arch}"
    script:
        "../scripts/table_scores.py"


rule merge_scores:
    input:
        scores=plan.score_tables(),
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


rule provenance:
    input:
        estimates=paths.estimates,
        splits=paths.split_report,
        audit=paths.audit,
        table=paths.of_table("table"),
        cards=plan.per_model(paths.card),
    output:
        paths.provenance,
    log:
        paths.log("provenance"),
    benchmark:
        paths.benchmark("provenance")
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        **job_resources.light(),
    params:
        settings=rule_params.provenance(),
        code=rule_params.code_digests(),
    message:
        "provenance of every number"
    script:
        "../scripts/table_provenance.py"
