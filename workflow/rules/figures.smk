rule figures:
    input:
        plan=ancient(flow.record),
        # not their identity: a file that is ancient once is ancient in `rebuilt` too
        tables=ancient(flow.tables[:-1]),
        rebuilt=flow.rebuilt,
        augmented=ancient(flow.augmented),
    output:
        report(
            directory("reports/figures"),
            patterns=["{study}/{figure}.svg"],
            caption="../report/figure.rst",
            category="{study}",
            labels={"figure": "{figure}"},
        ),
        flow.figures[-1],
    log:
        "logs/figures.log",
    conda:
        "../envs/bnbench.yaml"
    threads: flow.cores
    shell:
        "bnbench figures {input.plan:q} --tables results/tables --out reports/figures"
        " --workers {threads} 2>&1 | tee {log:q}"
