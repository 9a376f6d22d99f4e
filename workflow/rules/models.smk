# One rule a kind of step, or several kinds. A model's address is its directory, and its manifest says that all of it is there: the one file
# that rules know. {parent} is the model that a job begins with, or <task>/<recipe>/s<seed> for a root. What only selects weights between the
# two (`prune`, `ablate`) is made on the way by the job of {step}, and is a job of its own where it is asked for itself.


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


# The least important components of the parent, which is ablated for it.
use rule continue_training as utilise with:
    input:
        data=data_manifest,
        parent="results/models/{parent}/manifest.json",
        order="results/models/{parent}/order.csv",
    wildcard_constraints:
        step=step_kinds.of_rule("utilise"),


# What follows reads a model and nothing else.
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
