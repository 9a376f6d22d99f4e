"""The page of a model: chain, training, scores, layers, example translations, log, and how to export it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nmtprune.experiment import own, paths, shapes
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.run import Run
from nmtprune.foundation import commands
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import plots
from nmtprune.reporting.kinds.examples import marked
from nmtprune.reporting.plots import Panel
from nmtprune.reporting.rendition import Marked, Table
from nmtprune.reporting.tables import PARTS, number
from nmtprune.scoring.significance import substitution_gains

ON_REQUEST = tuple(name for name, metric in METRICS.items() if metric.on_request)
SCORES = tuple(dict.fromkeys(("bleu", "chrf", *ON_REQUEST, "comet", "perplexity", "nll_per_token")))
HEADINGS = {"sparsity": "Zeros (%)", "nll_per_token": "NLL per token", "macs_per_word": "MACs per word"}
SIZES = ("parameters", "nonzero", "sparsity", "size_dense", "size_sparse", "macs_per_word")
SPEEDS = ("words_per_second", "seconds", "load_seconds", "peak_memory", "size_on_disk")
RANDOM, SEED = 3, 1  # example sentences drawn at random, and the seed of the draw
LOG_LINES = 60  # of the end of a log
LONGEST_LINE = 300  # characters of it


def context(chain: Chain, run: Run, measured: Measured, link: Callable[[Chain], str]) -> dict[str, Any]:
    """What the template shows of a model; `link` gives the address of a model's page from this one."""
    parent = own.dense_parent(measured.config, chain)
    scores = _scores(chain, measured)
    against = parent if parent != chain and measured.hypotheses(parent) is not None else None
    examples = list(_examples(chain, against, measured))
    log, widths = _log(chain), list(_widths(chain, measured))
    return {
        "chain": chain,
        "reason": None if measured.manifest(chain) or scores else measured.reason(chain),
        "path": [_step(each, measured, link) for each in reversed(list(chain.ancestors()))],
        "seeds": [
            {"seed": each.seed, "link": link(each)}
            for each in run.models
            if (each.task, each.recipe, each.steps) == (chain.task, chain.recipe, chain.steps)
            and each.seed != chain.seed
        ],
        "children": [
            {"step": str(each.last), "link": link(each)} for each in run.models if each.parent == chain
        ],
        "shown_in": [item for item in run.items if any(chain in row.chains for row in item.rows)],
        "curve": _curve(chain, measured),
        "scores": scores,
        "scored_how": _scored_how(chain, measured),
        "not_scored": _sentence(measured.reason(chain)),
        "speeds": _speeds(chain, measured),
        "widths": widths,
        "is_whole": all(each["left"] == each["of"] for each in widths),
        "zeros": _zeros(chain, measured),
        "classes": list(_classes(chain, measured)),
        "examples": examples,
        "against": {"chain": against, "link": link(against)} if against else None,
        "against_name": "dense model",
        "no_examples": _sentence(measured.reason(chain, "hypotheses")),
        "export": commands.nmtprune("export", str(chain), "exported", given=commands.for_others()),
        "export_said": "This command writes the model, its subwords and a program that translates with them "
        "into the folder exported, which needs no nmtprune.",
        "make": commands.snakemake(paths.manifest(chain).as_posix(), given=commands.for_others()),
        "make_said": "The weights are not part of this page: where they are missing, this makes them first.",
        "folder": paths.model(chain).as_posix(),
        "facts": _facts(chain, measured),
        "log": log,
        "no_log": f"Its log, {paths.log(paths.model(chain))}, is not kept with the run.",
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" if text and "/" not in text.partition(" ")[0] else text


def _step(chain: Chain, measured: Measured, link: Callable[[Chain], str]) -> dict[str, str]:
    """A step of the chain: what it does, and how many updates it took."""
    made = measured.manifest(chain) or {}
    updates = made.get("updates")
    return {
        "step": str(chain.last),
        "about": chain.last.kind.about,
        "link": link(chain),
        "said": f"{updates:,} updates" if updates else "no training" if not chain.last.kind.trains else "",
    }


@dataclass(frozen=True)
class Curve:
    """The losses of a training: a plot, the step it is of, and a sentence on what is seen."""

    panel: Panel
    step: str
    said: str


CURVES = {"train_nll": "training", "dev_nll": "development"}  # columns of a history


def _curve(chain: Chain, measured: Measured) -> Curve | None:
    """The losses of the last training of a chain, or of what it was selected from; None without a history."""
    trained = next((each for each in chain.ancestors() if each.last.kind.trains), None)
    history = measured.history(trained) if trained else None
    if trained is None or history is None or not len(history):
        return None
    updates = history["update"].to_numpy(float)
    losses = {name: history[column] for column, name in CURVES.items() if column in history}
    known = {name: loss.to_numpy(float) for name, loss in losses.items() if loss.notna().any()}
    if not known:
        return None
    x = plots.axis("updates", updates, 40, 352, low=0)
    y = plots.axis("negative log-likelihood", np.concatenate(list(known.values())), 218, 10)
    lines = [
        (f"{name}, negative log-likelihood a token", plots.path(x, y, updates, loss))
        for name, loss in known.items()
    ]
    chosen = (measured.manifest(trained) or {}).get("selected_update")
    at = history[history["update"] == chosen]
    mark = (x(float(chosen)), y(float(at["dev_nll"].iloc[0]))) if chosen and len(at) else None
    development = known.get("development", next(iter(known.values())))
    said = (
        f"The development loss goes from {development[0]:.3f} at update {updates[0]:,.0f} to "
        f"{development[-1]:.3f} at update {updates[-1]:,.0f}."
    )
    if chosen is not None:
        said += " The parent was selected." if chosen == 0 else f" Update {chosen:,} was selected."
    return Curve(Panel(x, y, lines=lines, marked=mark), str(trained.last), said)


def _rows(chain: Chain, measured: Measured) -> list[dict[str, str]]:
    """The rows of a model's scores: the main test set first, then the other sets."""
    names = measured.test_sets(chain.task, "all")
    rows = [measured.scores(chain, name) for name in [*names, "dev", "train"]]
    return [row for row in rows if row]


def _scores(chain: Chain, measured: Measured) -> Table | None:
    """Scores by set, then what does not depend on a set; None of a model that is not scored."""
    rows = _rows(chain, measured)
    if not rows:
        return None
    shown = [name for name in (*SCORES, *SIZES) if any(row.get(name) for row in rows)]
    cells = [
        [row["set"], _count(row.get("sentences")), *(_cell(row, name) for name in shown)] for row in rows
    ]
    headings = ["Set", "Sentences", *map(heading, shown)]
    about = ["", "", *(METRICS[name].about for name in shown)]
    return Table(headings, ["name", *["ours"] * (len(shown) + 1)], cells, [], about=about)


def heading(metric: str) -> str:
    """A metric as the heading of a column."""
    title = HEADINGS.get(metric, METRICS[metric].title)
    return title if METRICS[metric].signature else f"{title[:1].upper()}{title[1:]}"


def _count(number: str | None) -> str:
    return f"{int(number):,}" if number else "–"


def _cell(row: dict[str, str], metric: str) -> str:
    return number(metric, float(row[metric])) if row.get(metric) else "–"


def _scored_how(chain: Chain, measured: Measured) -> list[str]:
    """Engine, beam and signatures of the scores."""
    rows = _rows(chain, measured)
    signatures = [metric.signature for name in SCORES if (metric := METRICS[name]).signature]
    said = [f"{name} {row[key]}" for row in rows[:1] for name, key in signatures if row.get(key)]
    searched = [f"Translated by {row['engine']}, beam {row['beam']}" for row in rows[:1] if row.get("beam")]
    return [f"{text}." for text in dict.fromkeys([*searched, *said])]


def _speeds(chain: Chain, measured: Measured) -> Table | None:
    rows = measured.speeds(chain)
    if not rows:
        return None
    first = ["Engine", "Precision", "Shortlist", "Sentences a batch"]
    cells = [
        [
            row["engine_version"] or row["engine"],
            row["precision"],
            "yes" if row["shortlist"] == "1" else "no",
            row["batch_size"],
            *(_cell(row, name) for name in SPEEDS),
        ]
        for row in rows
    ]
    kinds = ["name", "ours", "ours", *["ours"] * (1 + len(SPEEDS))]
    about = [*[""] * len(first), *(METRICS[name].about for name in SPEEDS)]
    return Table([*first, *map(heading, SPEEDS)], kinds, cells, [], about=about)


def _widths(chain: Chain, measured: Measured) -> Iterator[dict[str, Any]]:
    """Units and heads left in each layer, of those that the recipe has."""
    architecture = measured.config.recipe(chain.recipe).architecture
    dense = architecture.shape
    if not dense:
        return
    begun = shapes.widths(dense, architecture.tied_decoder_layers)
    for name, left in measured.widths(chain).items():
        part, side, layer = name.split("_")
        if of := begun.get(name):
            what = f"{side.capitalize()} {layer}, {PARTS[part]} ({'units' if part == 'ffn' else 'heads'})"
            yield {"name": what, "left": left, "of": of, "share": 100 * left / of}


def _zeros(chain: Chain, measured: Measured) -> str:
    """The sparsity of the model in words; empty if it is not scored."""
    sparsity = measured.value(chain, "sparsity")
    return "" if sparsity is None else f"{number('sparsity', sparsity)} % of the prunable weights are zero"


def _classes(chain: Chain, measured: Measured) -> Iterator[dict[str, Any]]:
    """The share of weights left in each class, where the weights were analysed."""
    analysis = measured.analysis(chain, "weights")
    if analysis is None:
        return
    for row in analysis[analysis["name"] == "kept_of_class"].itertuples():
        yield {"name": row[3], "of": f"{int(row.weights):,}", "share": float(row.value)}


def _examples(chain: Chain, against: Chain | None, measured: Measured) -> Iterator[dict[str, Any]]:
    """A few sentences drawn at random, and those with the largest gain and loss of BLEU."""
    ours = measured.hypotheses(chain)
    theirs = measured.hypotheses(against) if against else None
    if not ours or (theirs is not None and len(theirs) != len(ours)):
        return
    sources, references = (measured.text(chain.task, side) for side in ("source", "target"))
    for line, why in _lines(chain, against, len(ours), measured).items():
        own_text, other = ours[line], theirs[line] if theirs else None
        yield {
            "line": line + 1,
            "why": why,
            "source": sources[line] if sources and references else None,
            "reference": references[line] if references else None,
            "ours": marked(own_text, other) if other is not None else _plain(own_text),
            "theirs": marked(other, own_text) if other is not None else None,
        }


def _plain(text: str) -> Marked:
    return Marked(((text, False),))


def _lines(chain: Chain, against: Chain | None, lines: int, measured: Measured) -> dict[int, str]:
    """The lines of the examples, counted from 0, and why each was chosen."""
    chosen = dict.fromkeys(
        sorted(random.Random(SEED).sample(range(lines), min(RANDOM, lines))), "drawn at random"
    )
    test_set = measured.test_set(chain.task)
    ours = measured.of_sentences(chain, test_set, "bleu")
    theirs = measured.of_sentences(against, test_set, "bleu") if against else None
    if ours is not None and theirs is not None:
        gains = substitution_gains(theirs[None], ours[None])
        if gains.min() < 0:
            chosen.setdefault(int(gains.argmin()), "where it loses most BLEU")
        if gains.max() > 0:
            chosen.setdefault(int(gains.argmax()), "where it gains most BLEU")
    return chosen


def _facts(chain: Chain, measured: Measured) -> list[tuple[str, str]]:
    made = measured.manifest(chain) or {}
    facts = [("Digest", made.get("digest")), ("Precision", made.get("precision"))]
    if seconds := made.get("wall_seconds"):
        facts.append(("Training", f"{seconds:,.0f} seconds"))
    return [(name, value) for name, value in facts if value]


def _log(chain: Chain) -> str | None:
    """The end of what the job of the model printed; None where there is no log."""
    file: Path = paths.log(paths.model(chain))
    if not file.exists():
        return None
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(line[:LONGEST_LINE] for line in lines)
