rule prepare:
    input:
        ancient(flow.downloaded),
    output:
        # update: another user of a shared folder may have filled it, and read it now; existing files are checked
        update(directory("data/prepared/{dataset}-{key}")),
    log:
        "logs/prepare/{dataset}-{key}.log",
    conda:
        "../envs/bnbench.yaml"
    threads: workflow.cores
    params:
        definitions=flow.definitions,
        raw=flow.raw_flag,
    shell:
        # DVC expects both folders, even if nothing is augmented
        "mkdir -p data/augmented && bnbench prepare {wildcards.dataset:q} --params={params.definitions:q}"
        " {params.raw} --out {output:q} --workers {threads} 2>&1 | tee {log:q}"


rule data:
    input:
        flow.prepared,
        flow.augmented,
