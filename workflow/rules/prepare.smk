rule prepare:
    input:
        raw=ancient(flow.raw_of),
    output:
        directory("data/prepared/{dataset}-{key}"),
    params:
        raw=lambda wildcards, input: f"--raw {input.raw}" if input.raw else "",
    log:
        "logs/prepare/{dataset}-{key}.log",
    shell:
        "bnbench prepare {wildcards.dataset:q} {params.raw} --out {output:q} > {log:q} 2>&1"


rule data:
    input:
        flow.prepared,
