rule download:
    # a mark, not the folder: a partial download stays when a job fails, and the next job resumes it
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
