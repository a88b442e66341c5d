rule report:
    input:
        plan=ancient(flow.record),
        tables=ancient(flow.tables[:-1]),
        rebuilt=flow.rebuilt,
        # by name: ancient(rules.figures.output) would mark that rule's own output, and `all` would not ask for it
        figures=ancient(flow.figures),
    output:
        report("reports/report.html", caption="../report/report.rst", category="Report"),
        report("reports/report.pdf", caption="../report/report.rst", category="Report"),
        flow.report,
    log:
        "logs/report.log",
    conda:
        "../envs/bnbench.yaml"
    shell:
        "bnbench report {input.plan:q} --tables results/tables --figures reports/figures"
        " --out reports 2>&1 | tee {log:q}"
