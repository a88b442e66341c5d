rule collect:
    input:
        plan=ancient(flow.record),
        trained=flow.trained,
    output:
        multiext("results/tables/runs", ".parquet", ".csv"),
        multiext("results/tables/history", ".parquet", ".csv"),
        multiext("results/tables/summary", ".parquet", ".csv"),
        "results/metrics.json",
        f"results/tables/identity-{flow.plan.tables_id}.json",
    log:
        "logs/collect.log",
    conda:
        "../envs/bnbench.yaml"
    shell:
        "bnbench collect {input.plan:q} --store results/runs --out results/tables > {log:q} 2>&1"
        " && rm -f {input.trained:q}"


rule tables:
    input:
        rules.collect.output,
