# Analyses of models.
rule matrix_analysis:
    input:
        data_manifest,
        model="results/models/{task}/{model}/manifest.json",
    output:
        numbers="results/models/{task}/{model}/{analysis}.csv",
        arrays="results/models/{task}/{model}/{analysis}.npz",
    log:
        "results/logs/models/{task}/{model}.{analysis}.log",
    wildcard_constraints:
        task="[^/]+",
        analysis=analysis_kinds.of_rule(analysis_kinds.ON_CPU),
    priority: headlines_first
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
        data_manifest,
        files_to_analyse,
        model="results/models/{task}/{model}/manifest.json",
    output:
        numbers="results/models/{task}/{model}/{analysis}.csv",
    log:
        "results/logs/models/{task}/{model}.{analysis}.log",
    wildcard_constraints:
        task="[^/]+",
        analysis=analysis_kinds.of_rule(analysis_kinds.ON_GPU),
    priority: headlines_first
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
        nmtprune("analyse {wildcards.analysis} {output.numbers}", on_gpu=True)


# Trials of altered models (Wang and Tu 2020): a process loads the model once, and an interrupted analysis
# continues with its next trial.
rule contribution:
    input:
        data_for_translating,
        shards_of("contribution"),
        model="results/models/{task}/{model}/manifest.json",
    output:
        numbers="results/models/{task}/{model}/contribution.csv",
        arrays="results/models/{task}/{model}/contribution.npz",
    log:
        "results/logs/models/{task}/{model}.contribution.log",
    wildcard_constraints:
        task="[^/]+",
    priority: headlines_first
    conda:
        CONDA
    resources:
        gpu=scoring_gpus,
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=lambda wildcards: analysis_json("contribution", wildcards),
    message:
        "ablating each component of {wildcards.task}/{wildcards.model}"
    shell:
        nmtprune("analyse contribution {output.numbers}", on_gpu=True)


rule criticality:
    input:
        data_for_translating,
        shards_of("criticality"),
        model="results/models/{task}/{model}/manifest.json",
    output:
        numbers="results/models/{task}/{model}/criticality.csv",
    log:
        "results/logs/models/{task}/{model}.criticality.log",
    wildcard_constraints:
        task="[^/]+",
    priority: headlines_first
    conda:
        CONDA
    resources:
        gpu=scoring_gpus,
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        settings=lambda wildcards: analysis_json("criticality", wildcards),
    message:
        "rewinding each component of {wildcards.task}/{wildcards.model} step by step"
    shell:
        nmtprune("analyse criticality {output.numbers}", on_gpu=True)


rule order:
    input:
        data_for_translating,
        model="results/models/{task}/{model}/manifest.json",
        contribution="results/models/{task}/{model}/contribution.csv",
    output:
        numbers="results/models/{task}/{model}/order.csv",
    log:
        "results/logs/models/{task}/{model}.order.log",
    wildcard_constraints:
        task="[^/]+",
    priority: headlines_first
    conda:
        CONDA
    resources:
        gpu=scoring_gpus,
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        settings=lambda wildcards: analysis_json("order", wildcards),
    message:
        "ablating components of {wildcards.task}/{wildcards.model} one after the other"
    shell:
        nmtprune("analyse order {output.numbers}", on_gpu=True)


# One shard of an analysis's trials, if the setting `shards` splits them over jobs.
rule shard:
    input:
        data_for_translating,
        model="results/models/{task}/{model}/manifest.json",
    output:
        done="results/models/{task}/{model}/shards/{analysis}-{shard}-of-{shards}.json",
    log:
        "results/logs/models/{task}/{model}.{analysis}-{shard}-of-{shards}.log",
    wildcard_constraints:
        task="[^/]+",
        analysis="|".join(analysis_kinds.shared_out()),
        shard=r"\d+",
        shards=r"\d+",
    priority: headlines_first
    conda:
        CONDA
    resources:
        gpu=scoring_gpus,
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=lambda wildcards: analysis_json(wildcards.analysis, wildcards),
    message:
        "{wildcards.analysis} of {wildcards.task}/{wildcards.model}, shard {wildcards.shard} of {wildcards.shards}"
    shell:
        nmtprune(
            "shard {wildcards.analysis} {input.model} {wildcards.shard} {wildcards.shards} {output.done}",
            on_gpu=True,
        )
