rule download:
    output:
        directory("data/raw/{dataset}-{key}"),
    log:
        "logs/download/{dataset}-{key}.log",
    shell:
        "bnbench download {wildcards.dataset:q} --out {output:q} > {log:q} 2>&1"
