# The configuration, and the functions that rules call. All mistakes in the configuration are reported here,
# before the DAG is built.
import functools
import gc
import json
import logging
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# The objects of a DAG with thousands of jobs all stay alive, and searching them for garbage takes a sixth of
# its time.
gc.set_threshold(200_000, 50, 100)

# The job that needs the space reports a full disk; without this, Snakemake's own log would add a traceback.
logging.raiseExceptions = False

# Jobs run with the Python of Snakemake, except those with an environment of their own (`--sdm`).
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
)

try:
    from nmtprune.experiment import chain as chains
    from nmtprune.experiment import analysis_kinds, paths, slices, step_kinds, subwords
    from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
    from nmtprune.experiment.checks import check_chain, unfinished_decays
    from nmtprune.planning import checks
    from nmtprune.foundation import commands, errors
    from nmtprune.store import current, units
    from nmtprune.runtime import devices, fork_server
    from nmtprune.experiment import config as configuration
    from nmtprune.experiment.run import Run, with_teachers
    from nmtprune.data.corpus import own_files
    from nmtprune.foundation.errors import UserError
    from nmtprune.scoring import asked
    from nmtprune.store import state
except ImportError as error:
    raise WorkflowError(f"{error}: set up first (make setup), then run .venv/bin/snakemake")


def doubled(text):
    """Text with doubled braces, for shell lines and environments, where Snakemake replaces single ones."""
    return str(text).replace("{", "{{").replace("}", "}}")


try:
    # `nmtprune` itself reads config.yaml, --configfile and --config; Snakemake's result is not used
    GIVEN = workflow.config_settings
    CONFIG = configuration.load(GIVEN.configfiles, GIVEN.config_args or ())
    if configuration.SETTINGS_FILE.exists():
        workflow.configfiles.append(str(configuration.SETTINGS_FILE))  # for Snakemake's heading and report
    CONFIGFILE = Path(os.path.relpath(GIVEN.configfiles[-1])) if GIVEN.configfiles else None
    commands.remember(CONFIGFILE, CONFIG.differing(CONFIGFILE))
    RUN, KEPT = Run(CONFIG), units.Kept(CONFIG)
    CHAINS = RUN.chains
    # models named on the command line are checked as well, so that a typing mistake gets a clear message
    ASKED = [word for word in sys.argv if word.startswith("results/models/")]
    BY_HAND = [chains.parse(paths.chain_text(word)) for word in ASKED]
    for file, each in zip(map(Path, ASKED), BY_HAND):
        check_chain(CONFIG, each)
        if file.name in paths.BESIDE_A_MANIFEST:
            raise UserError(
                f"{file}: a model's files come with its manifest; ask for {file.with_name(paths.MANIFEST)}"
            )
    TARGETS = [str(file) for file in KEPT.targets(RUN)]
    DISTILLED = CONFIG.distilled_tasks()
    WANTED = with_teachers(CONFIG, [*CHAINS, *BY_HAND])
    TASKS = sorted({each.task for each in WANTED})
    FETCHED = sorted({str(paths.text(task) / paths.MANIFEST) for task in TASKS if task not in DISTILLED})
    checks.of_run(CONFIG, WANTED, {*RUN.scored, *BY_HAND})
    OWN_FILES = {task: own_files(CONFIG.task(task), CONFIG.data_dir) for task in TASKS}
    NOTES = current.notes() if workflow.is_main_process else {}
    OUTDATED = current.outdated(NOTES)
    current.renew(NOTES, OUTDATED)
    GPUS = int(devices.on_gpu(CONFIG.settings["device"]))
    # whether this Snakemake runs the jobs itself, and was not started for a job of another one
    LOCAL = workflow.is_main_process and workflow.local_exec
    # environments of jobs (`--sdm`)
    DEPLOYED = {method.name for method in workflow.deployment_settings.deployment_method}
    if "APPTAINER" in DEPLOYED and "CONDA" not in DEPLOYED:
        raise UserError(
            "--sdm: `apptainer` alone brings an image without packages; valid: `conda`, `conda apptainer`"
        )
    if GPUS and LOCAL:
        devices.check(CONFIG.settings["nodes"], CONFIG.settings["workers"])
    SETTINGS = doubled(CONFIG.as_arguments())
    OF_THE_PAGE = ("papers", "seeds", "chains", "name", "controls", "speed")
    PAGE_SETTINGS = doubled(f"--set preset={CONFIG.settings['preset']} {CONFIG.as_arguments(OF_THE_PAGE)}")
except UserError as error:
    raise WorkflowError(*str(error).splitlines())

if workflow.is_main_process:
    for sentence in unfinished_decays(CONFIG, [*CHAINS, *BY_HAND]):
        logger.warning(sentence)

BESIDE_BLEU = asked.beside_bleu(CONFIG.settings)
PAGES = [str(paths.page(RUN.name) / paths.INDEX)] if RUN.items else []
COMPLETE = str(paths.page(RUN.name) / paths.COMPLETE)
OTHER_FILES = (
    sorted({str(file) for file in RUN.outputs} - {str(file) for file, _ in RUN.report_entries} - set(PAGES))
    if RUN.items
    else []
)
PACKAGE = doubled(shlex.quote(str(Path(workflow.basedir) / "workflow")))
CONDA = doubled(Path(workflow.basedir) / "envs" / "conda.yaml")

# a number of GPUs on the command line takes precedence
if GPUS and LOCAL and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(1, len(devices.devices())) * CONFIG.settings["jobs_per_gpu"])


onstart:
    # With Snakemake's limit of jobs per second, each job makes its scheduler wake up once a second for ever;
    # after hundreds of jobs this uses a whole core.
    workflow.scheduler.job_rate_limiter = None
    workflow.scheduler.schedule = in_one_sentence(workflow.scheduler.schedule)
    needed = list(workflow.dag.needrun_jobs())
    try:
        if workflow.is_main_process:
            state.only_run(paths.RESULTS)
        makes = [Path(file) for job in needed for file in job.output]
        at_once = workflow.resource_settings.cores or workflow.resource_settings.nodes or 1
        checks.before_jobs(RUN, {*CHAINS, *BY_HAND}, makes, at_once, LOCAL)
        if not workflow.touch:
            begin(needed)
    except UserError as error:
        raise WorkflowError(str(error))
    except OSError as error:
        raise WorkflowError(f"nmtprune: {errors.sentence_of(error)}")
    if LOCAL and not DEPLOYED and len(needed) >= fork_server.ENOUGH_JOBS:
        fork_server.start("nmtprune.cli.preload")


def begin(needed):
    """Mark the files that this run will make as outdated, so that they are made again if the run fails.

    These are the page, and other files without a note of their origin.
    """
    made = {Path(file) for job in needed for file in job.output}
    if not {COMPLETE, *TARGETS}.isdisjoint(map(str, made)):
        Path(COMPLETE).unlink(missing_ok=True)
    for job in needed:
        file = Path(job.output[0]) if job.output and job.rule.name != "pages" else None
        if file and file not in NOTES and file.exists():
            current.to_be_made_again(file)


def in_one_sentence(schedule):
    """Snakemake's scheduler, with one sentence as error message if there is no space for its own files."""

    def run():
        try:
            return schedule()
        except (OSError, WorkflowError, ExceptionGroup) as error:
            of_system = errors.behind(error)
            if of_system is None or (isinstance(error, WorkflowError) and of_system.errno not in errors.FULL):
                raise
            raise WorkflowError(f"nmtprune: {errors.sentence_of(of_system)}")

    return run


def nmtprune(verb, on_gpu=False):
    """The shell line of a rule: a verb of the package, with the settings that differ from config.yaml.

    `on_gpu`: the rule has the resource `gpu`. Jobs of a local run lease their GPUs; a cluster assigns them.
    """
    leased = "--lease {resources.gpu}" if on_gpu and GPUS and LOCAL else ""
    # environments of conda have the requirements of nmtprune, but not nmtprune
    package = f"PYTHONPATH={PACKAGE}" if DEPLOYED else ""
    return " ".join(
        filter(None, [package, "python -m nmtprune", verb, SETTINGS, leased, "--cost {log} > {log} 2>&1"])
    )


def watched(files):
    """The user's own files as inputs, without paths with braces, which Snakemake would take for wildcards."""
    return [str(file) for file in files if not set("{}") & set(str(file))]


def chain_of(wildcards):
    """The chain that a rule makes (`parent`, `step`) or scores (`task`, `model`)."""
    spelt = (
        (wildcards.parent, wildcards.step)
        if "parent" in wildcards.keys()
        else (wildcards.task, wildcards.model)
    )
    return checked("/".join(spelt))


@functools.cache  # Snakemake asks several times for each job, and a grid has thousands
def checked(address):
    chain = chains.parse(address)
    check_chain(CONFIG, chain)
    return chain


def headlines_first(wildcards):
    """A job's priority: models for headline claims come first, and within each group lower seeds.

    Thus the models of one seed are complete before the next seed begins.
    """
    chain = chain_of(wildcards)
    return 1000 * (chain in RUN.headline_models) - chain.seed


def data_manifest(wildcards):
    return data_manifest_of(chain_of(wildcards))


@functools.cache
def data_manifest_of(chain):
    return str(CONFIG.data_folder(chain) / paths.MANIFEST)


def by_content(files, made):
    """The user's own files as inputs; dates are ignored if a note says from what content `made` was made."""
    files = sorted(watched(files))
    return [ancient(file) for file in files] if made in NOTES else files


def corpus_files(wildcards):
    """The user's own corpus files that a task names.

    Snakemake calls this for each task whenever it determines the jobs, so it also marks outdated files.
    """
    workflow.dag.forcefiles.update(map(str, OUTDATED))
    return by_content(OWN_FILES.get(wildcards.task, []), paths.text(wildcards.task) / paths.MANIFEST)


def given_files(wildcards):
    """The dictionaries and the subword model that came with an imported checkpoint."""
    settings = CONFIG.subwords_named(wildcards.subwords)
    files = (
        subwords.given_files(settings, CONFIG.task(wildcards.task).languages)
        if settings["type"] == "given"
        else []
    )
    return by_content(files, paths.data(wildcards.task, wildcards.subwords) / paths.MANIFEST)


def data_for_translating(wildcards):
    """The data of a model, and the lexical shortlist of its recipe if it translates with one."""
    chain = chain_of(wildcards)
    shortlist = CONFIG.shortlist(chain)
    return [data_manifest_of(chain), *([str(shortlist)] if shortlist else [])]


def slices_json(wildcards):
    return slices_json_of(chain_of(wildcards))


@functools.cache
def slices_json_of(chain):
    return json.dumps([slices.of_step(CONFIG, each) for each in chain.of_its_job()], sort_keys=True)


def scoring_json(wildcards):
    return json.dumps({**slices.of_scores(CONFIG, chain_of(wildcards).recipe), **BESIDE_BLEU}, sort_keys=True)


def analysis_json(name, wildcards):
    return json.dumps(ANALYSIS_KINDS[name].identity(CONFIG, chain_of(wildcards)), sort_keys=True)


def shards_of(name):
    """The shards of an analysis, which are jobs of their own; empty unless `shards` is above 1."""
    shards = CONFIG.settings["shards"]
    parts = [
        f"results/models/{{task}}/{{model}}/shards/{name}-{shard}-of-{shards}.json"
        for shard in range(1, shards + 1)
    ]
    return parts if shards > 1 else []


def files_to_analyse(wildcards):
    """The user's own files that an analysis reads, such as those of SentEval for probing."""
    files = ANALYSIS_KINDS[wildcards.analysis].own_files(CONFIG, wildcards.task)
    return by_content(files, paths.analysis(chain_of(wildcards), wildcards.analysis))


def imported_checkpoint(wildcards):
    chain = chain_of(wildcards)
    return by_content(chain.last.kind.own_files(CONFIG, chain).values(), paths.manifest(chain))


def variants_of(wildcards):
    """The selecting steps on a model that this run asks for; after `--full`, those to score in full."""
    variants = RUN.variants.get(chain_of(wildcards), ())
    in_full = sorted(each.last.text for each in variants if each in RUN.scored_in_full)
    return [*sorted(each.last.text for each in variants), *(["--full", *in_full] if in_full else [])]


def training_minutes(wildcards, attempt):
    """A generous estimate of the time of a training; each further attempt gets the same time in addition."""
    chain = chain_of(wildcards)
    schedule = CONFIG.schedule(chain.recipe, chain.last.schedule)
    tokens = schedule.updates * schedule.tokens_per_update
    return attempt * (30 + tokens // 600_000)


def training_threads(wildcards):
    _, workers = CONFIG.workers(chain_of(wildcards))
    return workers


def training_nodes(wildcards):
    nodes, _ = CONFIG.workers(chain_of(wildcards))
    return nodes


# With several nodes, `srun` (`mpi`) starts one task on each node, and that task starts the workers of its
# node.
SEVERAL_NODES = (
    {"nodes": training_nodes, "tasks": training_nodes, "mpi": "srun"} if CONFIG.settings["nodes"] > 1 else {}
)


def training_gpus(wildcards):
    nodes, workers = CONFIG.workers(chain_of(wildcards))
    return GPUS * nodes * workers


def scoring_gpus(wildcards):
    return translating_gpus(chain_of(wildcards).recipe)


def translating_gpus(recipe):
    return GPUS if CONFIG.translates_on_gpu(recipe) else 0


def teachers_of(wildcards):
    return [str(paths.manifest(each)) for each in KEPT.teachers(wildcards.task)]


def distilling_gpus(wildcards):
    """As many as for scoring with the teacher's recipe; an ensemble always runs in fairseq."""
    teachers = CONFIG.teachers(wildcards.task)
    return GPUS if len(teachers) > 1 else translating_gpus(teachers[0].recipe)


def mem_mb(base):
    return lambda wildcards, attempt: attempt * base
