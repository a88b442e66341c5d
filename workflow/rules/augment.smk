rule augment:
    input:
        ancient(flow.augmented_from),
    output:
        update(directory("data/augmented/{dataset}/{augmentation}-{key}")),
    log:
        "logs/augment/{dataset}/{augmentation}-{key}.log",
    conda:
        "../envs/bnbench.yaml"
    params:
        definitions=flow.definitions,
    shell:
        "bnbench augment {wildcards.dataset:q} {wildcards.augmentation:q} --params={params.definitions:q}"
        " --data {input:q} --out {output:q} 2>&1 | tee {log:q}"
