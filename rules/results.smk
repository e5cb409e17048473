"""Results: estimates with their intervals, tables, figures, and where every number comes from."""


rule estimate:
    input:
        scores=layout.scores,
        manifest=layout.manifest,
        predictions=plan.every(layout.predictions),
    output:
        estimates=layout.estimates,
        contrasts=layout.contrasts,
        ranks=layout.ranks,
        classification=layout.classification,
    log:
        layout.log("estimate"),
    benchmark:
        layout.benchmark("estimate")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=asks(study.compute.mem_mb),
        runtime=asks(study.compute.short_runtime),
    params:
        settings=slices.estimate(),
        classes=plan.dataset.classes,
        code=slices.code("estimate"),
    message:
        "estimates, contrasts and ranks, over groups and seeds"
    script:
        "../scripts/estimate.py"


if study.meta:

    rule meta:
        input:
            scores=layout.scores,
        output:
            layout.meta,
        log:
            layout.log("meta"),
        benchmark:
            layout.benchmark("meta")
        conda:
            "../envs/cpu.yaml"
        threads: study.compute.threads
        resources:
            mem_mb=asks(study.compute.mem_mb),
            runtime=asks(study.compute.short_runtime),
        params:
            settings=slices.meta(),
            code=slices.code("meta"),
        message:
            "the metrics, judged by the evidence"
        script:
            "../scripts/meta.py"


# A caption's path takes no wildcards, so every figure and table has a rule of its own name: `snakemake figure_panels`.
for figure, use in plan.figures.items():

    rule:
        name:
            f"figure_{figure}"
        input:
            **plan.figure_inputs(figure),
            gate=[] if use.use == "audit" else layout.gate,
        output:
            svg=report(
                layout.figure(figure, "svg"),
                caption=f"../workflow/report/{use.use}.rst",
                category="Figures",
                labels={"figure": figure.replace("_", " ")},
            ),
            png=layout.figure(figure, "png"),
        log:
            layout.log(f"figure_{figure}"),
        benchmark:
            layout.benchmark(f"figure_{figure}")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            mem_mb=asks(1000),
            runtime=asks(study.compute.short_runtime),
        params:
            settings=slices.figure(figure),
            about=slices.about(figure),
            code=slices.code("figure", figure=figure),
        message:
            f"figure {figure}"
        script:
            "../scripts/figure.py"


for table in TABLES:

    rule:
        name:
            f"table_{table}"
        input:
            estimates=layout.estimates,
            contrasts=layout.contrasts,
            ranks=layout.ranks,
            classification=layout.classification,
            meta=layout.meta if table == "meta" else [],
            predictions=plan.every(layout.predictions),
            gate=layout.gate,
        output:
            md=report(
                layout.table(table, "md"),
                caption=f"../workflow/report/{table}-table.rst",
                category="Tables",
                labels={"table": table},
            ),
            csv=layout.table(table, "csv"),
            tex=layout.table(table, "tex"),
        log:
            layout.log(f"table_{table}"),
        benchmark:
            layout.benchmark(f"table_{table}")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            mem_mb=asks(1000),
            runtime=asks(study.compute.short_runtime),
        params:
            which=table,
            about=slices.about(),
            code=slices.code("table"),
        message:
            f"table {table}"
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
    benchmark:
        layout.benchmark("provenance")
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=asks(1000),
        runtime=asks(study.compute.short_runtime),
    params:
        study=slices.whole(),
        code=slices.codes(),
    message:
        "where every number comes from"
    script:
        "../scripts/provenance.py"
