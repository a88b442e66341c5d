rule report:
    input:
        plan=ancient(flow.record),
        tables=ancient(flow.tables),
        remade=flow.remade,
        figures=ancient(rules.figures.output),
    output:
        report("reports/report.html", caption="../report/report.rst", category="Report"),
        report("reports/report.pdf", caption="../report/report.rst", category="Report"),
        f"reports/identity/report-{flow.plan.report_id}.json",
    log:
        "logs/report.log",
    conda:
        "../envs/bnbench.yaml"
    shell:
        "bnbench report {input.plan:q} --tables results/tables --figures reports/figures"
        " --out reports 2>&1 | tee {log:q}"
