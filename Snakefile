from snakemake.utils import min_version

min_version("9.20")


# The image in which `--sdm conda apptainer` makes the environments of conda.
container: "docker://condaforge/miniforge3"


include: "workflow/rules/common.smk"


# the front of `snakemake --report`, which rendering writes
report: str((paths.page(RUN.name) / paths.REPORT).absolute())


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
        TARGETS,


# Fetch all that a run needs from the internet, once, on a machine with a network; verify and clean it.
rule fetch:
    input:
        FETCHED,
