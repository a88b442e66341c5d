rule augment:
    input:
        ancient(flow.augmented_from),
    output:
        directory("data/augmented/{dataset}/{augmentation}-{key}"),
    log:
        "logs/augment/{dataset}/{augmentation}-{key}.log",
    conda:
        "../envs/bnbench.yaml"
    shell:
        "bnbench augment {wildcards.dataset:q} {wildcards.augmentation:q} --data {input:q}"
        " --out {output:q} 2>&1 | tee {log:q}"
