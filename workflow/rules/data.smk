rule text:
    input:
        lambda wildcards: OWN_FILES.get(wildcards.task, []),
    output:
        "results/data/{task}/text/manifest.json",
    log:
        "results/logs/data/{task}/text.log",
    benchmark:
        "results/benchmarks/data/{task}/text.tsv"
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(4000),
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        task=lambda wildcards: json.dumps(CONFIG.corpus(wildcards.task), sort_keys=True),
    message:
        "fetching and cleaning {wildcards.task}"
    shell:
        nmtprune("text {wildcards.task}")


rule data:
    input:
        "results/data/{task}/text/manifest.json",
        given_files,
    output:
        "results/data/{task}/{subwords}/manifest.json",
    log:
        "results/logs/data/{task}/{subwords}.log",
    benchmark:
        "results/benchmarks/data/{task}/{subwords}.tsv"
    wildcard_constraints:
        subwords=r"(?!text/)[^/]+",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(16000),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        subwords=lambda wildcards: json.dumps(CONFIG.subwords_named(wildcards.subwords), sort_keys=True),
    message:
        "subwords and binarised data of {wildcards.task}: {wildcards.subwords}"
    shell:
        nmtprune("data {wildcards.task} {wildcards.subwords}")
