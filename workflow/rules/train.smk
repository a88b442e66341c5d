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
    threads: flow.workers
    resources:
        **flow.resources,
    params:
        device=flow.device,
        # `threads` is limited to the cores of the machine that submits
        workers=flow.workers,
    shell:
        # exec: the warning before the time limit must reach the training, not a shell, which would exit
        "exec bnbench train {input.job:q} --out results/runs --timings results/timings --provenance results/provenance"
        " --workers {params.workers} --device {params.device:q} --log {log:q}"


rule trained:
    input:
        flow.trained,
