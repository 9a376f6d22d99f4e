rule score:
    input:
        data_for_translating,
        model="results/models/{task}/{model}/manifest.json",
    output:
        scores="results/models/{task}/{model}/scores.csv",
    log:
        "results/logs/models/{task}/{model}.scores.log",
    wildcard_constraints:
        task="[^/]+",
    priority: headlines_first
    conda:
        CONDA
    resources:
        gpu=scoring_gpus,
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        scoring=scoring_json,
    message:
        "scoring {wildcards.task}/{wildcards.model}"
    shell:
        nmtprune("score {output.scores}", on_gpu=True)


# Variants (steps that only select weights): all variants of one model are scored in one process, one row for
# each.
rule variants:
    input:
        data_for_translating,
        model="results/models/{task}/{model}/manifest.json",
    output:
        scores="results/models/{task}/{model}/variants.csv",
    log:
        "results/logs/models/{task}/{model}.variants.log",
    wildcard_constraints:
        task="[^/]+",
    priority: headlines_first
    conda:
        CONDA
    resources:
        gpu=scoring_gpus,
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: attempt * (60 + 10 * len(variants_of(wildcards))),
    params:
        scoring=scoring_json,
        steps=variants_of,
    message:
        "scoring variants of {wildcards.task}/{wildcards.model}"
    shell:
        nmtprune("variants {output.scores} {params.steps}", on_gpu=True)
