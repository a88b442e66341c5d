rule train:
    input:
        job=ancient(".bnbench/jobs/{job}.json"),
        data=ancient(flow.data_of),
    output:
        touch(".bnbench/jobs/{job}.done"),
    log:
        "logs/train/{job}.log",
    conda:
        "../envs/bnbench.yaml"
    threads: workflow.cores
    shell:
        "bnbench train {input.job:q} --out results/runs --timings results/timings --provenance results/provenance"
        " --workers {threads} --log {log:q}"


rule trained:
    input:
        flow.trained,
