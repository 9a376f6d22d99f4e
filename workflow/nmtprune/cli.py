"""`python -m nmtprune <verb>`: what every rule of the workflow runs, and what one runs by hand."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from nmtprune import chain as chains
from nmtprune import commands, cost, launch, paths
from nmtprune import config as configuration
from nmtprune.config import Config
from nmtprune.errors import UserError, sentence_of, suggest
from nmtprune.files import write_json


def _chain(config: Config, model: str) -> chains.Chain:
    """A chain from its address, its directory under results/models, or a file in that."""
    chain = chains.parse(paths.chain_text(model))
    config.check(chain)
    return chain


def show_config(config: Config, arguments: argparse.Namespace) -> None:
    """Print the resolved configuration: settings, preset, and every recipe and task that the run uses."""
    import yaml

    from nmtprune import checks, papers

    asked = papers.chains(config)
    checks.of_run(config, asked, papers.scored(config))
    recipes = {}
    for chain in asked:
        schedules = recipes.setdefault(chain.recipe, {**config.recipe(chain.recipe), "schedules": {}})["schedules"]
        for ancestor in chain.ancestors():
            if ancestor.last.family.trains:
                schedules[ancestor.last.schedule] = config.schedule(chain.recipe, ancestor.last.schedule)
    resolved = {
        "settings": dict(config.settings),
        "preset": config.preset,
        "chains": [str(chain) for chain in asked],
        "tasks": {name: config.task(name) for name in sorted({chain.task for chain in asked})},
        "recipes": dict(sorted(recipes.items())),
    }
    print(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=120), end="")


def make_text(config: Config, arguments: argparse.Namespace) -> None:
    """Write a task's clean parallel text: its corpora fetched, or its training targets translated by its teacher."""
    if config.distilled(arguments.task):
        from nmtprune.data.distill import make_distilled

        return make_distilled(config, arguments.task)
    from nmtprune import checks
    from nmtprune.data.corpus import make_corpus

    checks.of_task(config, arguments.task)
    make_corpus(config.task(arguments.task), paths.text(arguments.task), config.data_dir, paths.DOWNLOADS)


def make_data(config: Config, arguments: argparse.Namespace) -> None:
    """Learn subwords on a task's text, encode and binarise it."""
    from nmtprune.data.encoded import make_data as encode

    settings = config.subwords_named(arguments.subwords)
    encode(config.task(arguments.task), settings, paths.text(arguments.task), paths.data(arguments.task, arguments.subwords))


def run_step(config: Config, arguments: argparse.Namespace) -> None:
    """Make the last step of a chain: train, prune, retrain, rejuvenate, ..."""
    chain = _chain(config, arguments.model)
    from nmtprune import steps

    nodes, workers = config.workers(chain)
    if nodes * workers > 1 and not launch.is_worker():
        steps.make_selections(config, chain)
        launch.become_workers(workers, nodes, sys.argv[1:])
    steps.run(config, chain)


def score(config: Config, arguments: argparse.Namespace) -> None:
    """Score a model on its task's development and test sets."""
    from nmtprune import evaluation

    evaluation.score(config, _chain(config, arguments.model))


def score_variants(config: Config, arguments: argparse.Namespace) -> None:
    """Score many variants of one model (each a step that only selects) in one process."""
    from nmtprune import evaluation

    parent = _chain(config, arguments.model)
    variants, in_full = ([_chain(config, f"{parent}/{step}") for step in steps] for steps in (arguments.steps, arguments.full))
    evaluation.score_variants(config, parent, variants, in_full)


def measure_speed(config: Config, arguments: argparse.Namespace) -> None:
    """Measure the speed of models of one task side by side; the first one is the others' anchor."""
    from nmtprune import speed

    speed.measure(config, Path(arguments.table), [_chain(config, model) for model in arguments.models], arguments.rounds, arguments.idle)


def analyse(config: Config, arguments: argparse.Namespace) -> None:
    """Analyse a model: its weights, its encoder's representations or what probes find in them."""
    from nmtprune.analysis.run import run

    run(arguments.analysis, config, _chain(config, arguments.model))


def analyse_shard(config: Config, arguments: argparse.Namespace) -> None:
    """Measure a part of an analysis' trials, for `analyse` to find: shard I of N."""
    from nmtprune.analysis.run import run_shard

    trials = run_shard(arguments.analysis, config, _chain(config, arguments.model), arguments.shard, arguments.shards)
    write_json(Path(arguments.done), {"trials": trials})


def render(config: Config, arguments: argparse.Namespace) -> None:
    """Render tables, figures and the page of the run from the scores that are there."""
    from nmtprune.reporting.render import render as render_all

    for path in render_all(config):
        print(path)


def keep(config: Config, arguments: argparse.Namespace) -> None:
    """Copy the page, and scores, histories and hypotheses of each task, recipe and seed that is whole, into a folder; no checkpoints."""
    from nmtprune.reporting.keep import keep as keep_all

    kept = keep_all(config, Path(arguments.folder))
    for unit, file in kept.lacking.items():
        print(f"{unit} is not whole yet: {file} is not there")
    print(f"{len(kept.files)} files, {len(kept.whole)} whole units, in {arguments.folder}")


def write_results(config: Config, arguments: argparse.Namespace) -> None:
    """Write docs/results.md, and the part of README.md that is made of it, from the claims of the runs that are kept."""
    from nmtprune.files import write_text
    from nmtprune.reporting import results

    runs, readme = results.kept(Path()), Path("README.md")
    write_text(Path("docs/results.md"), results.document(runs))
    write_text(readme, results.insert(readme.read_text(encoding="utf-8"), results.block(runs)))


def show_status(config: Config, arguments: argparse.Namespace) -> None:
    """Show what is done, what runs, how far each training is and when it will be done."""
    from nmtprune.reporting.status import status

    print(status(config))


def show_usage(config: Config, arguments: argparse.Namespace) -> None:
    """Show what the run takes on disk, by table and figure and by step."""
    from nmtprune.space import du

    print(du(config))


def plan(config: Config, arguments: argparse.Namespace) -> None:
    """Show what the rest of the run will cost: jobs, CPU and GPU hours and disk, by rule and by table and figure."""
    from nmtprune import plan as plans

    if arguments.calibrate:
        from nmtprune import preload

        preload.import_what_jobs_need()
        for recipe in plans.calibrate(config, main):
            print(f"measured: {recipe}", file=sys.stderr, flush=True)
    print(plans.plan(config, arguments.cores, arguments.gpus))


def free(config: Config, arguments: argparse.Namespace) -> None:
    """Show, and with --yes remove, what no page and no later step of the run needs."""
    from nmtprune.free import free as free_all

    print(free_all(config, arguments.yes, arguments.models))


def restore(config: Config, arguments: argparse.Namespace) -> None:
    """Make freed models again: those named, or all that the rest of the run needs."""
    from nmtprune.free import restore as restore_all

    made = []
    for chain in restore_all(config, [_chain(config, model) for model in arguments.freed]):
        made.append(chain)
        print(f"made again: {chain}", flush=True)
    if not made:
        whose = ", ".join(arguments.freed) or f"all models that the rest of the run {config.name} needs"
        print(f"Nothing is missing: the weights of {whose} are there.")


def write_docs(config: Config, arguments: argparse.Namespace) -> None:
    """Write docs/configuration.md from the schemas and docs/chains.md from the table of steps."""
    from nmtprune.files import write_text
    from nmtprune.reporting import docs

    for name, page in (("configuration.md", docs.configuration_page()), ("chains.md", docs.chains_page())):
        write_text(Path("docs") / name, page)
        print(f"docs/{name}")


def make_shortlist(config: Config, arguments: argparse.Namespace) -> None:
    """Align a task's training data and keep the target pieces that each source piece is aligned to most."""
    from nmtprune.scoring.shortlist import make_shortlist as align

    folder = paths.data(arguments.task, arguments.subwords)
    if not re.fullmatch(r"[1-9][0-9]*(\+[1-9][0-9]*)?", arguments.top):
        raise UserError(
            f"shortlist: `{arguments.top}` is no number of candidates; write it as 50, or as 50+200 with the most frequent pieces"
        )
    top, _, frequent = arguments.top.partition("+")
    sizes = int(top), int(frequent or paths.MOST_FREQUENT)
    align(paths.binarised(folder), paths.shortlist(folder, *sizes), *sizes)


def choose(config: Config, arguments: argparse.Namespace) -> None:
    """Name the smallest, the fastest and the cheapest models that lose less than some BLEU on the development set."""
    from nmtprune.choose import choose as choose_models

    against = _chain(config, arguments.against) if arguments.against else None
    print(choose_models(config, arguments.within, arguments.task, against))


def export(config: Config, arguments: argparse.Namespace) -> None:
    """Write a model, its subwords and a command that translates with them into a folder that needs no nmtprune."""
    from nmtprune.export import export as export_model

    folder = Path(arguments.folder)
    engine = export_model(config, _chain(config, arguments.model), folder, arguments.engine, arguments.precision, arguments.shortlist)
    print(f"{folder}/translate translates in {engine}; its packages: pip install -r {folder}/requirements.txt")


def run_fairseq(config: Config, arguments: argparse.Namespace) -> None:
    """Run one of fairseq's own tools (generate, interactive, train, ...), repaired for this Python; what follows its name is its own."""
    from nmtprune.toolkit import tools

    tools.run(arguments.tool, arguments.arguments)


def init(config: Config, arguments: argparse.Namespace) -> None:
    """Write an example of a run of your own into a new folder: corpus, task, recipe and configuration, each with comments."""
    from nmtprune.example import write

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
    "fairseq": (run_fairseq, ("tool", "arguments")),
}
POSITIONAL = {
    "steps": {"nargs": "+"},
    "models": {"nargs": "+"},
    "freed": {"nargs": "*"},
    "shard": {"type": int},
    "shards": {"type": int},
}
WITHOUT_A_RUN = ("init", "fairseq")  # verbs that no configuration concerns, not even one with a mistake
OPTIONS = {
    "plan": {
        "--calibrate": {"action": "store_true", "help": "first measure the recipes here of which nothing has run yet"},
        "--cores": {"type": int, "default": os.cpu_count(), "help": "that the run will have (default: this machine's)"},
        "--gpus": {"type": int, "default": 1, "help": "that the run will have, where it takes any (default: 1)"},
    },
    "free": {
        "--yes": {"action": "store_true", "help": "remove it"},
        "--models": {"action": "store_true", "help": "the weights of scored models too, which `export` needs"},
    },
    "variants": {"--full": {"nargs": "+", "default": [], "help": "those of them that are scored on the development set too"}},
    "speed": {
        "--rounds": {"type": int, "required": True, "help": "how often each model translates the test set"},
        "--idle": {"action": "store_true", "help": "wait for an idle machine, and refuse a measurement beside another busy core"},
    },
    "choose": {
        "--within": {"type": float, "required": True, "metavar": "BLEU", "help": "what may be lost"},
        "--task": {"help": "one task (default: all of the run)"},
        "--against": {"metavar": "CHAIN", "help": "the model to lose against (default: the best on the development set)"},
    },
    "export": {
        "--engine": {"default": "auto", "help": "ctranslate2, onnx, or auto: the one that takes the model, CTranslate2 first (default)"},
        "--precision": {"help": "float32 or int8 (default: int8 for a model that was rounded for the engine)"},
        "--shortlist": {"action": argparse.BooleanOptionalAction, "help": "a lexical shortlist (default: as the recipe decodes)"},
    },
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nmtprune", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    for name, (function, positional) in VERBS.items():
        if name == "fairseq":
            _add_fairseq(verbs, function.__doc__)
            continue
        verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
        for argument in positional:
            verb.add_argument(argument, **POSITIONAL.get(argument, {}))
        for option, settings in OPTIONS.get(name, {}).items():
            verb.add_argument(option, **settings)
        verb.add_argument("--lease", type=int, default=0, metavar="GPUS", help="wait for so many GPUs that no other job has")
        verb.add_argument("--cost", type=Path, metavar="LOG", help="record what it costs, beside this log of a rule")
        verb.add_argument("--configfile", type=Path, help="settings laid over config.yaml, as Snakemake's option of this name")
        verb.add_argument("--preset", help="short for --set preset=...")
        verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, its value in YAML")
    return parser


def _noted(config: Config, arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Note what the file is made from that the verb makes, if it makes one: once, however many workers make it."""
    from nmtprune import current, jobs  # they take time, and `--help` needs neither

    if arguments.verb not in jobs.VERBS or not launch.is_first():
        return contextlib.nullcontext()
    job = jobs.of_verb(config, arguments.verb, arguments)
    return current.making(job.makes, jobs.read_by(config, job))


def _add_fairseq(verbs: Any, about: str | None) -> None:
    """A verb without options of its own: all of them, `--help` too, are the tool's."""
    verb = verbs.add_parser("fairseq", help=about, description=about, add_help=False)
    verb.add_argument("tool")
    verb.add_argument("arguments", nargs=argparse.REMAINDER)
    verb.set_defaults(lease=0, cost=None, configfile=None, preset=None, set=[])


def main() -> int:
    if sys.argv[1:] and not sys.argv[1].startswith("-") and sys.argv[1] not in VERBS:
        print(f"nmtprune: unknown verb `{sys.argv[1]}`; {suggest(sys.argv[1], VERBS)}", file=sys.stderr)
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
        with launch.leased(arguments.lease, config.settings["jobs_per_gpu"]), _noted(config, arguments):
            began = time.monotonic()
            VERBS[arguments.verb][0](config, arguments)
            if arguments.cost and launch.is_first():
                write_json(paths.cost(arguments.cost), cost.of_this_process(arguments.verb, time.monotonic() - began))
        sys.stdout.flush()
    except UserError as error:
        print(f"nmtprune: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as `nmtprune status | head`: nobody reads on
        _write_no_more()
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"nmtprune: {sentence_of(error)}", file=sys.stderr)
        _write_no_more()
        return 1
    return 0


def _write_no_more() -> None:
    """Let what is left of the output go: written at the end of the process it would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
