SPEED_ON_GPU = CONFIG.settings["speed_device"] == "cuda"


# Speed is measured with nothing else running: the job takes all cores, so that Snakemake runs no other job,
# and a lock under results/speed allows one measurement at a time. On a cluster the job has a node to itself.
rule speed:
    input:
        lambda wildcards: sorted(
            {str(CONFIG.data_folder(each) / paths.MANIFEST) for each in RUN.speed_groups[wildcards.task]}
        ),
        lambda wildcards: sorted(
            {str(file) for each in RUN.speed_groups[wildcards.task] if (file := CONFIG.shortlist(each))}
        ),
        models=lambda wildcards: [str(paths.manifest(each)) for each in RUN.speed_groups[wildcards.task]],
    output:
        table="results/speed/{preset}/{task}.csv",
        left_out="results/speed/{preset}/{task}.left_out.csv",
    log:
        "results/logs/speed/{preset}/{task}.log",
    wildcard_constraints:
        preset=re.escape(RUN.name),
        task="|".join(map(re.escape, RUN.speed_groups)) or "none",
    conda:
        CONDA
    threads: workflow.resource_settings.cores or 1
    resources:
        mem_mb=mem_mb(16000),
        runtime=lambda wildcards, attempt: attempt * (60 + 10 * len(RUN.speed_groups[wildcards.task])),
        slurm_extra="'--exclusive'",
        gpu=int(SPEED_ON_GPU),
    params:
        rounds=CONFIG.preset.speed_rounds,
        chains=lambda wildcards: [str(each) for each in RUN.speed_groups[wildcards.task]],
        scoring=lambda wildcards: json.dumps(
            {
                each.recipe: slices.of_scores(CONFIG, each.recipe)
                for each in RUN.speed_groups[wildcards.task]
            },
            sort_keys=True,
        ),
    message:
        "measuring the speed of {wildcards.task}'s models, alone on the machine"
    shell:
        nmtprune(
            f"speed {{output.table}} --rounds {{params.rounds}}{' --idle' * CONFIG.preset.speed_on_idle} {{params.chains}}",
            on_gpu=SPEED_ON_GPU,
        )
