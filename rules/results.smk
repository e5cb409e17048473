"""Results: estimates with intervals, tables, figures, and the provenance of every number."""


rule estimate:
    input:
        scores=paths.scores,
        manifest=paths.manifest,
        predictions=plan.per_model(paths.predictions),
    output:
        estimates=paths.estimates,
        contrasts=paths.contrasts,
        ranks=paths.ranks,
        classification=paths.classification,
    log:
        paths.log("estimate"),
    benchmark:
        paths.benchmark("estimate")
    conda:
        "../envs/cpu.yaml"
    threads: study.compute.threads
    resources:
        **job_resources.cpu(),
    params:
        settings=rule_params.estimate(),
        code=rule_params.code_digest("estimate"),
        format=identity.TABLE_FORMAT,
    message:
        "estimates, contrasts and ranks, over groups and seeds"
    script:
        "../scripts/estimate.py"


if not OF_TABLE and study.meta:

    rule meta:
        input:
            scores=paths.scores,
        output:
            paths.meta,
        log:
            paths.log("meta"),
        benchmark:
            paths.benchmark("meta")
        conda:
            "../envs/cpu.yaml"
        threads: study.compute.threads
        resources:
            **job_resources.cpu(),
        params:
            settings=rule_params.meta(),
            code=rule_params.code_digest("meta"),
            format=identity.TABLE_FORMAT,
        message:
            "meta-evaluation: the metrics compared with the evidence"
        script:
            "../scripts/meta.py"


if not OF_TABLE and study.claims:

    rule claims:
        input:
            scores=paths.scores,
            predictions=plan.per_model(paths.predictions),
            classification=paths.classification,
            manifest=paths.manifest,
        output:
            paths.claims,
        log:
            paths.log("claims"),
        benchmark:
            paths.benchmark("claims")
        conda:
            "../envs/cpu.yaml"
        threads: study.compute.threads
        resources:
            **job_resources.cpu(),
        params:
            settings=rule_params.claims(),
            code=rule_params.code_digest("claims"),
            format=identity.TABLE_FORMAT,
        message:
            "claims of papers, tested on this study"
        script:
            "../scripts/claims.py"


if study.verdict:

    rule verdict:
        input:
            estimates=paths.estimates,
            contrasts=paths.contrasts,
            classification=paths.classification,
        output:
            paths.verdict,
        log:
            paths.log("verdict"),
        benchmark:
            paths.benchmark("verdict")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            **job_resources.light(),
        params:
            settings=rule_params.verdict(),
            code=rule_params.code_digest("verdict"),
            format=identity.VERDICT_FORMAT,
        message:
            "verdict on the maps of every method"
        script:
            "../scripts/verdict.py"


# A caption's path allows no wildcards, so every figure and table has its own rule: `snakemake figure_panels`.
# Snakemake writes the params of these rules into the report's page unchanged: `report_texts` escapes them.
for figure, use in plan.figures.items():

    rule:
        name:
            f"figure_{figure}"
        input:
            **plan.report_inputs("figures", use.use),
            leakage_check=[] if use.use == "audit" else paths.leakage_check,
        output:
            svg=report(
                paths.figure(figure, "svg"),
                caption=f"../workflow/report/figures/{use.use}.rst",
                category=report_items["figures", figure].category,
                labels=report_items["figures", figure].labels,
            ),
            png=paths.figure(figure, "png"),
            pdf=paths.figure(figure, "pdf"),
        log:
            paths.log(f"figure_{figure}"),
        benchmark:
            paths.benchmark(f"figure_{figure}")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            **job_resources.light(),
        params:
            settings=report_texts(rule_params.figure(figure)),
            about=report_texts(rule_params.study_description(figure)),
            code=rule_params.code_digest("figure", figure=figure),
        message:
            f"figure {figure}"
        script:
            "../scripts/figure.py"


for table in plan.tables:

    rule:
        name:
            f"table_{table}"
        input:
            **plan.report_inputs("tables", table),
            leakage_check=paths.leakage_check,
        output:
            html=report(
                paths.table(table, "html"),
                caption=f"../workflow/report/tables/{table}.rst",
                category=report_items["tables", table].category,
                labels=report_items["tables", table].labels,
            ),
            md=paths.table(table, "md"),
            csv=paths.table(table, "csv"),
            tex=paths.table(table, "tex"),
        log:
            paths.log(f"table_{table}"),
        benchmark:
            paths.benchmark(f"table_{table}")
        localrule: True
        conda:
            "../envs/cpu.yaml"
        resources:
            **job_resources.light(),
        params:
            settings=report_texts(rule_params.table(table)),
            about=report_texts(rule_params.study_description()),
            code=rule_params.code_digest("table", table=table),
        message:
            f"table {table}"
        script:
            "../scripts/table.py"


if not OF_TABLE:

    rule provenance:
        input:
            estimates=paths.estimates,
            splits=paths.split_report,
            audit=paths.audit,
            images=paths.images,
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
            "../scripts/provenance.py"
