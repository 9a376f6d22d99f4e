# One rule a family of steps. A model's address is its directory: {parent} is the chain before it, or <task>/<recipe>/s<seed> for a root.
wildcard_constraints:
    parent=r"[^/]+/[^/]+/s\d+(?:/.+)?",


rule train:
    input:
        data=data_manifest,
    output:
        "results/models/{parent}/{step}/model.pt",
        "results/models/{parent}/{step}/last.pt",
        "results/models/{parent}/{step}/initial.pt",
        "results/models/{parent}/{step}/history.csv",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    benchmark:
        "results/benchmarks/models/{parent}/{step}.tsv"
    conda:
        CONDA
    wildcard_constraints:
        step=r"train(?:-[^/]+)?",
    params:
        slice=slice_json,
    resources:
        gpu=int(ON_GPU),
        mem_mb=mem_mb(8000),
        runtime=training_minutes,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        "python -m nmtprune run {output.manifest} {SETTINGS} > {log} 2>&1"


rule import_checkpoint:
    input:
        data=data_manifest,
        checkpoint=imported_checkpoint,
    output:
        "results/models/{parent}/{step}/model.pt",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    benchmark:
        "results/benchmarks/models/{parent}/{step}.tsv"
    conda:
        CONDA
    wildcard_constraints:
        step=r"import-[^/]+",
    params:
        slice=slice_json,
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        "python -m nmtprune run {output.manifest} {SETTINGS} > {log} 2>&1"


rule continue_training:
    input:
        data=data_manifest,
        parent="results/models/{parent}/manifest.json",
    output:
        "results/models/{parent}/{step}/model.pt",
        "results/models/{parent}/{step}/last.pt",
        "results/models/{parent}/{step}/history.csv",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    benchmark:
        "results/benchmarks/models/{parent}/{step}.tsv"
    conda:
        CONDA
    wildcard_constraints:
        step=r"continue(?:-[^/]+)?",
    params:
        slice=slice_json,
    resources:
        gpu=int(ON_GPU),
        mem_mb=mem_mb(8000),
        runtime=training_minutes,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        "python -m nmtprune run {output.manifest} {SETTINGS} > {log} 2>&1"


use rule continue_training as retrain with:
    wildcard_constraints:
        step=r"retrain(?:-[^/]+)?",


use rule continue_training as rejuvenate with:
    wildcard_constraints:
        step=r"rejuvenate-[^/]+",


use rule continue_training as restart with:
    wildcard_constraints:
        step=r"restart(?:-[^/]+)?",


rule prune:
    input:
        data=data_manifest,
        parent="results/models/{parent}/manifest.json",
    output:
        "results/models/{parent}/{step}/mask.pt",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    benchmark:
        "results/benchmarks/models/{parent}/{step}.tsv"
    conda:
        CONDA
    wildcard_constraints:
        step=r"prune-[^/]+",
    params:
        slice=slice_json,
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        "python -m nmtprune run {output.manifest} {SETTINGS} > {log} 2>&1"


rule at:
    input:
        data=data_manifest,
        parent="results/models/{parent}/manifest.json",
    output:
        "results/models/{parent}/{step}/model.pt",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    benchmark:
        "results/benchmarks/models/{parent}/{step}.tsv"
    conda:
        CONDA
    wildcard_constraints:
        step=r"at-[^/]+",
    params:
        slice=slice_json,
    resources:
        mem_mb=mem_mb(4000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        "python -m nmtprune run {output.manifest} {SETTINGS} > {log} 2>&1"
