rule text:
    input:
        corpus_files,
    output:
        "results/data/{task}/text/manifest.json",
    log:
        "results/logs/data/{task}/text.log",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(4000),
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        task=lambda wildcards: json.dumps(slices.of_text(CONFIG, wildcards.task), sort_keys=True),
    message:
        "fetching and cleaning {wildcards.task}"
    shell:
        nmtprune("text {wildcards.task}")


# A distilled task: its training targets are translations by its teacher, all else comes from the task below
# it.
rule distil:
    input:
        lambda wildcards: str(paths.text(CONFIG.task(wildcards.task).distilled.from_) / paths.MANIFEST),
        teachers=teachers_of,
    output:
        "results/data/{task}/text/manifest.json",
    log:
        "results/logs/data/{task}/text.log",
    wildcard_constraints:
        task="|".join(map(re.escape, DISTILLED)),
    conda:
        CONDA
    resources:
        gpu=distilling_gpus,
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        task=lambda wildcards: json.dumps(slices.of_text(CONFIG, wildcards.task), sort_keys=True),
    message:
        "{wildcards.task}: translating the training sources of the task it is distilled from"
    shell:
        nmtprune("text {wildcards.task}", on_gpu=True)


ruleorder: distil > text


rule shortlist:
    input:
        "results/data/{task}/{subwords}/manifest.json",
    output:
        "results/data/{task}/{subwords}/shortlist-{top}.npz",
    log:
        "results/logs/data/{task}/{subwords}.shortlist-{top}.log",
    wildcard_constraints:
        subwords="[^/]+",
        top=r"\d+(\+\d+)?",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 240 * attempt,
    message:
        "aligning {wildcards.task} for a lexical shortlist"
    shell:
        nmtprune("shortlist {wildcards.task} {wildcards.subwords} {wildcards.top}")


rule data:
    input:
        "results/data/{task}/text/manifest.json",
        given_files,
    output:
        "results/data/{task}/{subwords}/manifest.json",
    log:
        "results/logs/data/{task}/{subwords}.log",
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
