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
    wildcard_constraints:
        step=r"train(?:-[^/]+)?",
    conda:
        CONDA
    threads: training_threads
    resources:
        **SEVERAL_NODES,
        gpu=training_gpus,
        mem_mb=mem_mb(8000),
        runtime=training_minutes,
    params:
        slice=slice_json,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        nmtprune("run {output.manifest}", on_gpu=True)


rule import_checkpoint:
    input:
        data=data_manifest,
        checkpoint=imported_checkpoint,
    output:
        "results/models/{parent}/{step}/model.pt",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    wildcard_constraints:
        step=r"import-[^/]+",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        slice=slice_json,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        nmtprune("run {output.manifest}")


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
    wildcard_constraints:
        step=r"continue(?:-[^/]+)?",
    conda:
        CONDA
    threads: training_threads
    resources:
        **SEVERAL_NODES,
        gpu=training_gpus,
        mem_mb=mem_mb(8000),
        runtime=training_minutes,
    params:
        slice=slice_json,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        nmtprune("run {output.manifest}", on_gpu=True)


use rule continue_training as retrain with:
    wildcard_constraints:
        step=r"retrain(?:-[^/]+)?",


use rule continue_training as rejuvenate with:
    wildcard_constraints:
        step=r"rejuvenate-[^/]+",


use rule continue_training as restart with:
    wildcard_constraints:
        step=r"restart(?:-[^/]+)?",


use rule continue_training as lasso with:
    wildcard_constraints:
        step=r"lasso-[^/]+",


use rule continue_training as converge with:
    wildcard_constraints:
        step=r"converge(?:-[^/]+)?",


use rule continue_training as finetune with:
    wildcard_constraints:
        step=r"finetune(?:-[^/]+)?",


# The least important components of the parent, which is ablated for it.
use rule continue_training as utilise with:
    input:
        data=data_manifest,
        parent="results/models/{parent}/manifest.json",
        order="results/models/{parent}/order.csv",
    wildcard_constraints:
        step=r"(?:rewind|drop)-[^/]+",


# What follows reads a model and nothing else.
rule prune:
    input:
        parent="results/models/{parent}/manifest.json",
    output:
        "results/models/{parent}/{step}/mask.pt",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    wildcard_constraints:
        step=r"prune-[^/]+",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        slice=slice_json,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        nmtprune("run {output.manifest}")


use rule prune as ablate with:
    wildcard_constraints:
        step=r"ablate-[^/]+",


rule at:
    input:
        parent="results/models/{parent}/manifest.json",
    output:
        "results/models/{parent}/{step}/model.pt",
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    wildcard_constraints:
        step=r"at-[^/]+",
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(4000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        slice=slice_json,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        nmtprune("run {output.manifest}")


use rule at as slice_model with:
    output:
        "results/models/{parent}/{step}/model.pt",
        "results/models/{parent}/{step}/norms.npz",
        manifest="results/models/{parent}/{step}/manifest.json",
    wildcard_constraints:
        step="slice",


use rule at as int8 with:
    wildcard_constraints:
        step=r"int8-[^/]+",
