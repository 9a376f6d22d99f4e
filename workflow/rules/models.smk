# One rule for each kind of step, or for several kinds. A model's directory is its address. Rules know a model
# only by its manifest, which says that the model is complete. {parent} is the model that a job begins with,
# or <task>/<recipe>/s<seed> for a root. Steps between the two that only select weights (`prune`, `ablate`)
# are made by the job of {step}; they are jobs of their own only if they are asked for themselves.


wildcard_constraints:
    parent=r"[^/]+/[^/]+/s\d+(?:/.+?)?",


rule train:
    input:
        data=data_manifest,
    output:
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    wildcard_constraints:
        step=step_kinds.of_rule("train"),
    priority: headlines_first
    conda:
        CONDA
    threads: training_threads
    resources:
        **SEVERAL_NODES,
        gpu=training_gpus,
        mem_mb=mem_mb(8000),
        runtime=training_minutes,
    params:
        slices=slices_json,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        nmtprune("run {output.manifest}", on_gpu=True)


use rule train as continue_training with:
    input:
        data=data_manifest,
        parent="results/models/{parent}/manifest.json",
    wildcard_constraints:
        step=step_kinds.of_rule("continue_training"),


use rule continue_training as retrain with:
    wildcard_constraints:
        step=step_kinds.of_rule("retrain"),


use rule continue_training as rejuvenate with:
    wildcard_constraints:
        step=step_kinds.of_rule("rejuvenate"),


use rule continue_training as restart with:
    wildcard_constraints:
        step=step_kinds.of_rule("restart"),


use rule continue_training as lasso with:
    wildcard_constraints:
        step=step_kinds.of_rule("lasso"),


use rule continue_training as converge with:
    wildcard_constraints:
        step=step_kinds.of_rule("converge"),


use rule continue_training as finetune with:
    wildcard_constraints:
        step=step_kinds.of_rule("finetune"),


# `utilise` needs the order in which the components of its parent are ablated.
use rule continue_training as utilise with:
    input:
        data=data_manifest,
        parent="results/models/{parent}/manifest.json",
        order="results/models/{parent}/order.csv",
    wildcard_constraints:
        step=step_kinds.of_rule("utilise"),


# The following rules read a model and nothing else.
rule prune:
    input:
        parent="results/models/{parent}/manifest.json",
    output:
        manifest="results/models/{parent}/{step}/manifest.json",
    log:
        "results/logs/models/{parent}/{step}.log",
    wildcard_constraints:
        step=step_kinds.of_rule("prune"),
    priority: headlines_first
    conda:
        CONDA
    resources:
        mem_mb=mem_mb(8000),
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        slices=slices_json,
    message:
        "{wildcards.parent}/{wildcards.step}"
    shell:
        nmtprune("run {output.manifest}")


use rule prune as ablate with:
    wildcard_constraints:
        step=step_kinds.of_rule("ablate"),


use rule prune as at with:
    wildcard_constraints:
        step=step_kinds.of_rule("at"),


use rule prune as slice_model with:
    wildcard_constraints:
        step=step_kinds.of_rule("slice_model"),


use rule prune as int8 with:
    wildcard_constraints:
        step=step_kinds.of_rule("int8"),


use rule prune as import_checkpoint with:
    input:
        data=data_manifest,
        checkpoint=imported_checkpoint,
    wildcard_constraints:
        step=step_kinds.of_rule("import_checkpoint"),
