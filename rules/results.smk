"""Results: estimates with their intervals, tables, figures, and where every number comes from."""


rule estimate:
    input:
        scores=layout.scores,
        manifest=layout.manifest,
        predictions=plan.every(layout.predictions),
    output:
        estimates=layout.estimates,
        contrasts=layout.contrasts,
        classification=layout.classification,
    log:
        layout.log("estimate"),
    benchmark:
        layout.benchmark("estimate")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=2000,
        runtime=study.compute.short_runtime,
    params:
        settings=slices.estimate(),
        classes=plan.dataset.classes,
        code=slices.code("estimate"),
    message:
        "estimates and contrasts, over groups and seeds"
    script:
        "../scripts/estimate.py"


rule figure:
    input:
        unpack(lambda w: plan.figure_inputs(w.figure)),
    output:
        svg=report(
            layout.figure("svg"),
            caption="../workflow/report/{figure}.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png=layout.figure("png"),
    log:
        layout.log("figure", "figure"),
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=study.compute.short_runtime,
    params:
        settings=lambda w: slices.figure(w.figure),
        about=slices.about(),
        code=lambda w: slices.code("figure", figure=w.figure),
    message:
        "figure {wildcards.figure}"
    script:
        "../scripts/figure.py"


rule table:
    input:
        estimates=layout.estimates,
        contrasts=layout.contrasts,
        classification=layout.classification,
    output:
        md=report(
            layout.table("md"),
            caption="../workflow/report/{table}.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        csv=layout.table("csv"),
        tex=layout.table("tex"),
    log:
        layout.log("table", "table"),
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=study.compute.short_runtime,
    params:
        about=slices.about(),
        code=slices.code("table"),
    message:
        "table {wildcards.table}"
    script:
        "../scripts/table.py"


rule provenance:
    input:
        estimates=layout.estimates,
        splits=layout.split_report,
        audit=layout.audit,
        images=layout.images,
        cards=plan.every(layout.card),
    output:
        layout.provenance,
    log:
        layout.log("provenance"),
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=study.compute.short_runtime,
    params:
        study=slices.whole(),
        code=slices.codes(),
    message:
        "where every number comes from"
    script:
        "../scripts/provenance.py"
