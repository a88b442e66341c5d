rule figures:
    input:
        plan=ancient(flow.record),
        tables=ancient(flow.tables),
        remade=flow.remade,
        augmented=ancient(flow.augmented),
    output:
        report(
            directory("reports/figures"),
            patterns=["{study}_{figure}.svg"],
            caption="../report/figure.rst",
            category="{study}",
            labels={"figure": "{figure}"},
        ),
        f"reports/identity/figures-{flow.plan.figures_id}.json",
    log:
        "logs/figures.log",
    conda:
        "../envs/bnbench.yaml"
    threads: workflow.cores
    shell:
        "bnbench figures {input.plan:q} --tables results/tables --out reports/figures"
        " --workers {threads} 2>&1 | tee {log:q}"
