rule collect:
    input:
        plan=ancient(flow.record),
        trained=flow.trained,
    output:
        flow.tables,
        touch(flow.pending),
    log:
        "logs/collect.log",
    conda:
        "../envs/bnbench.yaml"
    shell:
        "bnbench collect {input.plan:q} --store results/runs --out results/tables 2>&1 | tee {log:q}"
        " && rm -f {input.trained:q}"


rule tables:
    input:
        rules.collect.output,
