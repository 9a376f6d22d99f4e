# What is looked at inside a model.
rule matrix_analysis:
    input:
        data_manifest,
        model="results/models/{task}/{model}/manifest.json",
    output:
        numbers="results/models/{task}/{model}/{analysis}.csv",
        arrays="results/models/{task}/{model}/{analysis}.npz",
    log:
        "results/logs/models/{task}/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/models/{task}/{model}.{analysis}.tsv"
    wildcard_constraints:
        task="[^/]+",
        analysis="weights|matrices",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=lambda wildcards: analysis_json(wildcards.analysis, wildcards),
    message:
        "{wildcards.analysis} of {wildcards.task}/{wildcards.model}"
    shell:
        nmtprune("analyse {wildcards.analysis} {output.numbers}")


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
