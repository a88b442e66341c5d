rule prepare:
    input:
        ancient(flow.downloaded),
    output:
        # update: who shares the folder may have filled it since, and read it now; what is there is checked
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
        # DVC keeps both folders, also where nothing is augmented
        "mkdir -p data/augmented && bnbench prepare {wildcards.dataset:q} --params={params.definitions:q}"
        " {params.raw} --out {output:q} --workers {threads} 2>&1 | tee {log:q}"


rule data:
    input:
        flow.prepared,
        flow.augmented,
