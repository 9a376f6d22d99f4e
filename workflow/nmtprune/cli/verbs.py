"""The verbs of `nmtprune` or `python -m nmtprune`: the workflow's rules run them, and so can you."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import nmtprune
from nmtprune.cli import completion
from nmtprune.cli.arguments import FORMATS, OF_EVERY_VERB, OPTIONS, POSITIONAL, Parser, add
from nmtprune.experiment import chain as chains
from nmtprune.experiment import config as configuration
from nmtprune.experiment import paths
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.run import Run
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError, sentence_of, suggest
from nmtprune.foundation.files import write_json
from nmtprune.runtime import devices, job_cost

# A verb imports the rest of what it needs in its function: PyTorch takes seconds, and most verbs do without.


def _chain(config: Config, model: str) -> chains.Chain:
    """A chain from its address, its directory under results/models, or a file in that directory."""
    chain = chains.parse(paths.chain_text(model))
    check_chain(config, chain)
    return chain


def show_config(config: Config, arguments: argparse.Namespace) -> None:
    """Print the resolved configuration: settings, preset, and every recipe and task that the run uses."""
    import yaml

    from nmtprune.planning import checks

    run = Run(config)
    checks.of_run(config, run.chains, run.scored)
    recipes = {}
    for chain in run.chains:
        schedules = recipes.setdefault(chain.recipe, {**config.recipe(chain.recipe).said, "schedules": {}})[
            "schedules"
        ]
        for ancestor in chain.ancestors():
            if ancestor.last.kind.trains:
                schedules[ancestor.last.schedule] = config.schedule(
                    chain.recipe, ancestor.last.schedule
                ).whole
    resolved = {
        "settings": dict(config.settings),
        "preset": config.preset.said,
        "chains": [str(chain) for chain in run.chains],
        "tasks": {name: config.task(name).said for name in run.tasks},
        "recipes": dict(sorted(recipes.items())),
    }
    print(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=120), end="")


def make_text(config: Config, arguments: argparse.Namespace) -> None:
    """Write a task's clean parallel text, fetched from its corpora or translated by its teacher."""
    if config.task(arguments.task).distilled:
        from nmtprune.translation.distillation import make_distilled

        return make_distilled(config, arguments.task)
    from nmtprune.data.corpus import make_corpus
    from nmtprune.planning import checks

    checks.of_task(config, arguments.task)
    make_corpus(config.task(arguments.task), paths.text(arguments.task), config.data_dir, paths.DOWNLOADS)


def make_data(config: Config, arguments: argparse.Namespace) -> None:
    """Learn subwords on a task's text, then encode and binarise the text."""
    from nmtprune.data.encoded import make_data as encode

    settings = config.subwords_named(arguments.subwords)
    encode(
        config.task(arguments.task),
        settings,
        paths.text(arguments.task),
        paths.data(arguments.task, arguments.subwords),
    )


def run_step(config: Config, arguments: argparse.Namespace) -> None:
    """Make the last step of a chain: train, prune, retrain, rejuvenate, ..."""
    chain = _chain(config, arguments.model)
    from nmtprune.steps import run

    nodes, workers = config.workers(chain)
    if nodes * workers > 1 and not devices.is_worker():
        run.make_selections(config, chain)
        devices.become_workers(workers, nodes, sys.argv[1:])
    run.run(config, chain)


def score(config: Config, arguments: argparse.Namespace) -> None:
    """Score a model on its task's development and test sets."""
    from nmtprune.scoring import evaluation

    evaluation.score(config, _chain(config, arguments.model))


def score_variants(config: Config, arguments: argparse.Namespace) -> None:
    """Score many variants of one model in one process; each is a step that only selects weights."""
    from nmtprune.scoring import evaluation

    parent = _chain(config, arguments.model)
    variants, in_full = (
        [_chain(config, f"{parent}/{step}") for step in steps] for steps in (arguments.steps, arguments.full)
    )
    evaluation.score_variants(config, parent, variants, in_full)


def measure_speed(config: Config, arguments: argparse.Namespace) -> None:
    """Measure the speed of models of one task side by side; the first model is the anchor of the others."""
    from nmtprune.speed import measurement

    measurement.measure(
        config,
        Path(arguments.table),
        [_chain(config, model) for model in arguments.models],
        arguments.rounds,
        arguments.idle,
    )


def analyse(config: Config, arguments: argparse.Namespace) -> None:
    """Analyse a model, such as its weights, its representations or what probing classifiers find in them."""
    from nmtprune.analysis.run import run

    run(arguments.analysis, config, _chain(config, arguments.model))


def analyse_shard(config: Config, arguments: argparse.Namespace) -> None:
    """Measure shard I of N of an analysis' trials, which `analyse` will read."""
    from nmtprune.analysis.run import run_shard

    trials = run_shard(
        arguments.analysis, config, _chain(config, arguments.model), arguments.shard, arguments.shards
    )
    write_json(Path(arguments.done), {"trials": trials})


def render(config: Config, arguments: argparse.Namespace) -> None:
    """Render tables, figures and the page of the run from the scores that exist."""
    from nmtprune.reporting.render import render as render_all

    for path in render_all(Run(config)):
        print(path)


def keep(config: Config, arguments: argparse.Namespace) -> None:
    """Copy the page and all whole units into a folder: scores, histories and hypotheses, no checkpoints."""
    from nmtprune.reporting.reference import keep as keep_all

    kept = keep_all(Run(config), Path(arguments.folder))
    for unit, file in kept.lacking.items():
        print(f"{unit} is not whole yet: {file} is missing")
    print(f"{len(kept.files)} files, {len(kept.whole)} whole units, in {arguments.folder}")


def write_results(config: Config, arguments: argparse.Namespace) -> None:
    """Write docs/results.md, and the parts of README.md and docs/choosing.md made from reference results."""
    from nmtprune.foundation.files import write_text
    from nmtprune.reporting import results

    runs = results.kept(Path())
    write_text(Path("docs/results.md"), results.document(runs, results.searched(Path())))
    parts = {"README.md": results.block(runs), "docs/choosing.md": results.bought(Path())}
    for name, part in parts.items():
        write_text(Path(name), results.insert(Path(name).read_text(encoding="utf-8"), part, name))


def show_status(config: Config, arguments: argparse.Namespace) -> None:
    """Show what is done and what is running, and for each training its progress and the time left."""
    if arguments.watch is not None:
        from nmtprune.planning.jobs import Jobs
        from nmtprune.planning.watch import watch

        if not 0 < arguments.watch <= LONGEST_WAIT:
            raise UserError(
                f"status --watch: {arguments.watch:g} is not a number of seconds "
                f"above 0 and at most {LONGEST_WAIT}"
            )
        watch(Jobs(Run(config)), arguments.watch)
        return
    from nmtprune.planning.status import status

    print(status(Run(config)))


def show_usage(config: Config, arguments: argparse.Namespace) -> None:
    """Show the disk usage of the run, by table and figure and by step."""
    from nmtprune.planning.disk_usage import du

    print(du(Run(config)))


def plan(config: Config, arguments: argparse.Namespace) -> None:
    """Show the cost of the rest of the run in jobs, hours and disk space, by rule and by table and figure."""
    from nmtprune.planning import plan as plans

    run = Run(config)
    if arguments.calibrate:
        from nmtprune.cli import preload

        preload.import_what_jobs_need()
        for recipe in plans.calibrate(run, main):
            print(f"measured: {recipe}", file=sys.stderr, flush=True)
    print(plans.plan(run, arguments.cores, arguments.gpus))


def free(config: Config, arguments: argparse.Namespace) -> None:
    """Show the files that no page and no later step of the run needs; remove them with --yes."""
    from nmtprune.planning.freeing import free as free_all

    print(free_all(Run(config), arguments.yes, arguments.models))


def restore(config: Config, arguments: argparse.Namespace) -> None:
    """Make freed models again: the given ones, or all that the rest of the run needs."""
    from nmtprune.planning.freeing import restore as restore_all

    made = []
    for chain in restore_all(Run(config), [_chain(config, model) for model in arguments.freed]):
        made.append(chain)
        print(f"made again: {chain}", flush=True)
    if not made:
        whose = ", ".join(arguments.freed) or f"all models that the rest of the run {config.name} needs"
        print(f"Nothing is missing: the weights of {whose} are there.")


def write_docs(config: Config, arguments: argparse.Namespace) -> None:
    """Write docs/configuration.md, docs/chains.md and the schema of items from schemas and registries."""
    from nmtprune.experiment import schemas
    from nmtprune.foundation.files import write_text
    from nmtprune.reporting import reference_docs

    written = {
        "docs/configuration.md": reference_docs.configuration_page(),
        "docs/chains.md": reference_docs.chains_page(),
        "workflow/schemas/item.schema.json": schemas.item_file(),
    }
    for name, text in written.items():
        write_text(Path(name), text)
        print(name)


def make_shortlist(config: Config, arguments: argparse.Namespace) -> None:
    """Align a task's training data, and keep the target pieces most often aligned to each source piece."""
    from nmtprune.translation.shortlist import make_shortlist as align

    folder = paths.data(arguments.task, arguments.subwords)
    sizes = paths.candidates(arguments.top)
    align(paths.binarised(folder), paths.shortlist(folder, *sizes), *sizes)


def choose(config: Config, arguments: argparse.Namespace) -> None:
    """Choose the smallest, fastest and cheapest models that lose little quality on the development set."""
    from nmtprune.export.choice import choose as choose_models

    against = _chain(config, arguments.against) if arguments.against else None
    print(choose_models(Run(config), arguments.within, arguments.task, against, arguments.metric))


def export(config: Config, arguments: argparse.Namespace) -> None:
    """Write a model and a command that translates with it into a folder that needs no nmtprune."""
    from nmtprune.export import marian
    from nmtprune.export.folder import export as export_model

    folder, chain = Path(arguments.folder), _chain(config, arguments.model)
    if arguments.format not in FORMATS:
        raise UserError(f"export: unknown format `{arguments.format}`; {suggest(arguments.format, FORMATS)}")
    if arguments.format == "marian":
        if arguments.engine != "auto" or arguments.precision or arguments.shortlist is not None:
            raise UserError(
                "export: --format marian has no --engine, --precision or --shortlist; leave them out"
            )
        marian.export(config, chain, folder)
        print(f"{folder} is a MarianMTModel with its MarianTokenizer: transformers' from_pretrained loads it")
        return
    engine = export_model(
        config,
        chain,
        folder,
        arguments.engine,
        arguments.precision,
        arguments.shortlist,
    )
    print(
        f"{folder}/translate translates in {engine}; its packages: pip install -r {folder}/requirements.txt"
    )


def run_fairseq(config: Config, arguments: argparse.Namespace) -> None:
    """Run one of fairseq's own tools (generate, interactive, train, ...), repaired for this Python."""
    from nmtprune.fairseq_bridge import tools

    tools.run(arguments.tool, arguments.arguments)


def write_completion(config: Config, arguments: argparse.Namespace) -> None:
    """Print a script for `source <(nmtprune completion bash)` that completes verbs, options and chains."""
    print(completion.script(_parser(), arguments.shell, config))


def init(config: Config, arguments: argparse.Namespace) -> None:
    """Write an example of a run of your own into a new folder, with comments in each file."""
    from nmtprune.data.example import write

    print(write(Path(arguments.folder), config))


VERBS = {
    "init": (init, ("folder",)),
    "config": (show_config, ()),
    "text": (make_text, ("task",)),
    "data": (make_data, ("task", "subwords")),
    "shortlist": (make_shortlist, ("task", "subwords", "top")),
    "run": (run_step, ("model",)),
    "score": (score, ("model",)),
    "variants": (score_variants, ("model", "steps")),
    "speed": (measure_speed, ("table", "models")),
    "analyse": (analyse, ("analysis", "model")),
    "shard": (analyse_shard, ("analysis", "model", "shard", "shards", "done")),
    "render": (render, ()),
    "keep": (keep, ("folder",)),
    "results": (write_results, ()),
    "status": (show_status, ()),
    "plan": (plan, ()),
    "du": (show_usage, ()),
    "free": (free, ()),
    "restore": (restore, ("freed",)),
    "docs": (write_docs, ()),
    "choose": (choose, ()),
    "export": (export, ("model", "folder")),
    "completion": (write_completion, ("shell",)),
    "fairseq": (run_fairseq, ("tool", "arguments")),
}
LONGEST_WAIT = 3600  # seconds between two drawings of `status --watch`
# verbs that only the workflow's rules and the Makefile use; neither help nor completion shows them
INTERNAL = ("variants", "shard", "results", "docs")
WITHOUT_A_RUN = ("init", "completion", "fairseq")  # verbs that read no configuration


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="nmtprune", description=__doc__)
    parser.add_argument("--version", action="version", version=f"nmtprune {nmtprune.__version__}")
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="verb", title="verbs", parser_class=argparse.ArgumentParser
    )
    for name, (function, positional) in VERBS.items():
        does = " ".join((function.__doc__ or "").split())
        shown: dict[str, Any] = {} if name in INTERNAL else {"help": does}
        verb = verbs.add_parser(name, description=does, **shown)
        for argument in positional:
            add(verb, argument, POSITIONAL.get(f"{name} {argument}") or POSITIONAL[argument])
        if name == "fairseq":  # all options after the tool's name, even `--help`, belong to the tool
            verb.set_defaults(lease=0, cost=None, configfile=None, preset=None, set=[])
            continue
        for option, settings in (OPTIONS.get(name, {}) | OF_EVERY_VERB).items():
            add(verb, option, settings)
    return parser


def _noted(config: Config, arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Note what a verb's file is made from, if it makes one; only the first of several workers does so."""
    from nmtprune.planning import jobs
    from nmtprune.store import current  # imported here, since `--help` needs neither and they take time

    if arguments.verb not in jobs.VERBS or not devices.is_first():
        return contextlib.nullcontext()
    job = jobs.of_verb(config, arguments.verb, arguments)
    return current.making(job.makes, jobs.read_by(config, job))


def main() -> int:
    """Run the verb of the command line; returns the exit status, 2 for a mistake of the user."""
    if sys.argv[1:] and not sys.argv[1].startswith("-") and sys.argv[1] not in VERBS:
        print(
            f"nmtprune: unknown verb `{sys.argv[1]}`; {suggest(sys.argv[1], set(VERBS) - set(INTERNAL))}",
            file=sys.stderr,
        )
        return 2
    arguments = _parser().parse_args()
    if os.environ.get("NMTPRUNE_TRACEBACK") is None:
        warnings.filterwarnings("ignore")
    try:
        settings = [*([f"preset={arguments.preset}"] if arguments.preset else []), *arguments.set]
        commands.remember(arguments.configfile, settings)
        no_run = arguments.verb in WITHOUT_A_RUN
        files = [arguments.configfile] if arguments.configfile else []
        config = configuration.from_settings({}) if no_run else configuration.load(files, settings)
        with devices.leased(arguments.lease, config.settings["jobs_per_gpu"]), _noted(config, arguments):
            began = time.monotonic()
            VERBS[arguments.verb][0](config, arguments)
            if arguments.cost and devices.is_first():
                write_json(
                    paths.cost(arguments.cost),
                    job_cost.of_this_process(arguments.verb, time.monotonic() - began),
                )
        sys.stdout.flush()
    except UserError as error:
        print(f"nmtprune: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads the rest, as in `nmtprune status | head`
        _write_no_more()
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"nmtprune: {sentence_of(error)}", file=sys.stderr)
        _write_no_more()
        return 1
    return 0


def _write_no_more() -> None:
    """Discard unwritten output, which would raise the same error again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
