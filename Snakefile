from snakemake.utils import min_version

min_version("9.20")


# for `--sdm conda apptainer`: where the environments of conda are made
container: "docker://condaforge/miniforge3"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/speed.smk"
include: "workflow/rules/analyses.smk"
include: "workflow/rules/pages.smk"


localrules:
    all,
    fetch,


rule all:
    default_target: True
    input:
        PAGES,
        COMPLETE if PAGES else [],
        OWN_SCORES,


# All that a run needs from the internet, verified and cleaned: once, where there is a network.
rule fetch:
    input:
        FETCHED,
