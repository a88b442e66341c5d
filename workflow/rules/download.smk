rule download:
    # a mark, not the folder: what was fetched of a file stays when a job fails, and the next one goes on from there
    output:
        update(touch("data/raw/{dataset}-{key}.done")),
    log:
        "logs/download/{dataset}-{key}.log",
    conda:
        "../envs/bnbench.yaml"
    params:
        definitions=flow.definitions,
        folder=subpath(output[0], strip_suffix=".done"),
    shell:
        "bnbench download {wildcards.dataset:q} --params={params.definitions:q} --out {params.folder:q}"
        " 2>&1 | tee {log:q}"
