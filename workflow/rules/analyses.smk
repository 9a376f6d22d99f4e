# What is looked at inside a model.
rule weights:
    input:
        data_manifest,
        model="results/models/{task}/{model}/manifest.json",
    output:
        numbers="results/models/{task}/{model}/weights.csv",
        arrays="results/models/{task}/{model}/weights.npz",
    log:
        "results/logs/models/{task}/{model}.weights.log",
    benchmark:
        "results/benchmarks/models/{task}/{model}.weights.tsv"
    wildcard_constraints:
        task="[^/]+",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=lambda wildcards: analysis_json("weights", wildcards),
    message:
        "weights of {wildcards.task}/{wildcards.model}"
    shell:
        nmtprune("analyse weights {output.numbers}")


rule encoder_analysis:
    input:
        "results/data/{task}/text/manifest.json",
        data_manifest,
        files_to_probe,
        model="results/models/{task}/{model}/manifest.json",
    output:
        numbers="results/models/{task}/{model}/{analysis}.csv",
    log:
        "results/logs/models/{task}/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/models/{task}/{model}.{analysis}.tsv"
    wildcard_constraints:
        task="[^/]+",
        analysis="representations|probing",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(8000),
        gpu=GPUS,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=lambda wildcards: analysis_json(wildcards.analysis, wildcards),
    message:
        "{wildcards.analysis} of {wildcards.task}/{wildcards.model}"
    shell:
        nmtprune("analyse {wildcards.analysis} {output.numbers}")
