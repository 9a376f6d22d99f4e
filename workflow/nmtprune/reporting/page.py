"""The page of a run, `index.html`, and a page for each of its models, below `pages/`.

It has the verdicts, the picture that sums the run up, the claims, every table and figure, and all models.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import nmtprune
from nmtprune.experiment import own, papers, paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.papers import Item
from nmtprune.experiment.run import Run
from nmtprune.foundation import escape, versions
from nmtprune.foundation.files import write_text
from nmtprune.measurements.compared import compared
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.plateaus import (
    BLEU_GAIN,
    MORE,
    NLL_GAIN,
    OWN_GAIN,
    SHARES,
    Plateau,
    plateaus,
)
from nmtprune.planning.task_sizes import TaskSizes
from nmtprune.reporting import claims_page, model_page
from nmtprune.reporting.captions import MADE, READ, SAYS
from nmtprune.reporting.claims_page import Decided
from nmtprune.reporting.overview import overview
from nmtprune.reporting.plots import interval
from nmtprune.reporting.rendition import Made, Table
from nmtprune.reporting.tables import number

WEB = Path(__file__).with_name("web")  # templates, and the files that go beside the page
BESIDE = ("page.css", "page.js")
PACKAGES = ("fairseq", "torch", "ctranslate2", "sacrebleu", "snakemake")
SHOWN = ("bleu", "chrf", "perplexity", "sparsity", "parameters")
SHOWN_FILES = ("svg", "png", "csv", "md", "tex")  # of a table or figure, as links
MODEL_HEADINGS = (
    "Model",
    "BLEU",
    "chrF",
    "Perplexity",
    "Zeros (%)",
    "Parameters",
    "Updates",
    "Data and recipe",
)
SENTENCE = re.compile(r"(?<=[a-z)0-9%][.])\s+(?=[A-Z])")  # between two sentences of a caption


@dataclass(frozen=True)
class Rendered:
    """A table or figure as it was written.

    `caption`: its sentences by what they say (`captions.parts`); `files`: by extension; `tips`: the tooltips
    of cells, by index of the row and key of the column.
    """

    item: Item
    made: Made
    caption: list[tuple[str, list[str]]]
    files: dict[str, Path]
    tips: dict[tuple[int, str], str] = field(default_factory=dict)

    def said(self, about: str) -> list[str]:
        """The sentences of the caption that say what is shown, how it is read, or how it was made."""
        return [sentence for what, sentences in self.caption for sentence in sentences if what == about]

    @property
    def says(self) -> str:
        """What is shown, in one sentence."""
        return SENTENCE.split(" ".join(self.said(SAYS)), maxsplit=1)[0]

    @property
    def reading(self) -> list[str]:
        """How the table or figure is read: the rest of what it says, results in words, marks, units."""
        _, *more = SENTENCE.split(" ".join(self.said(SAYS)), maxsplit=1)
        return [*more, *self.made.sentences, *self.said(READ)]

    @property
    def making(self) -> list[str]:
        return self.said(MADE)

    @property
    def blocks(self) -> list[Table]:
        """The blocks of a table; none where it has no rows."""
        return [table for table in (self.made.table, self.made.widths) if table and self.item.rows]

    @property
    def footnotes(self) -> list[str]:
        return self.made.footnotes + (self.made.widths.footnotes if self.made.widths else [])

    @property
    def alt(self) -> str:
        """A figure in words: its kind, the range of its first measure, and its rows."""
        kind = ITEM_KINDS[self.item.kind].about.partition(" (")[0]
        parts = [f"{self.item.title}: {kind}"]
        for column in self.item.columns[:1]:
            known = self.made.numbers[column.key].dropna() if column.key in self.made.numbers else []
            values = sorted(map(float, known))
            if values:
                ends = [number(column.metric, end, column.unit) for end in (values[0], values[-1])]
                parts.append(f"{column.heading} from {ends[0]} to {ends[1]}")
        names = list(dict.fromkeys(row.name for row in self.item.rows))
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        return f"{'; '.join([*parts, ', '.join(names[:6]) + more])}."


class Links:
    """Addresses of files and of models' pages, relative to a page of the run."""

    def __init__(self, run: Run, place: Path) -> None:
        self.folder, self.name = place.parent, run.name

    def __call__(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.folder)).as_posix()

    def model(self, chain: Chain) -> str:
        return self(paths.model_page(self.name, chain))


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(WEB),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def alone(made: Made, title: str) -> str:
    """A table as a page that needs no other file, as Snakemake's report shows it."""
    style = (WEB / "page.css").read_text(encoding="utf-8")
    blocks = [block for block in (made.table, made.widths) if block]
    return (
        _environment()
        .get_template("table.html.j2")
        .render(made=made, title=title, style=style, blocks=blocks)
    )


def report_front(run: Run, measured: Measured, decided: list[Decided]) -> str:
    """The front of Snakemake's report, in reStructuredText: what was run, and the verdicts."""
    title, index = escape.rst(run.config.title), paths.page(run.name) / paths.INDEX
    sentences = [
        _what_was_run(run, measured),
        claims_page.summary(decided),
        f"The page of the run, {index}, has the claims and a page for each model.",
    ]
    parts = [f"{title}\n{'=' * len(title)}", *map(escape.rst, filter(None, sentences))]
    return "\n\n".join(parts) + "\n"


def write(run: Run, measured: Measured, rendered: list[Rendered], decided: list[Decided]) -> None:
    """Write the page of a run with what lies beside it, and the pages of its models."""
    environment, folder = _environment(), paths.page(run.name)
    index = folder / paths.INDEX
    for name in BESIDE:
        write_text(folder / name, (WEB / name).read_text(encoding="utf-8"))
    shutil.rmtree(folder / paths.MODEL_PAGES, ignore_errors=True)  # of models that are no longer the run's
    template = environment.get_template("model.html.j2")
    for chain in run.models:
        file = paths.model_page(run.name, chain)
        links = Links(run, file)
        context = model_page.context(chain, run, measured, links.model)
        write_text(file, template.render(config=run.config, root=f"{links(folder)}/", **context))
    context = _context(run, measured, rendered, decided, Links(run, index))
    write_text(index, environment.get_template("index.html.j2").render(**context))


def _context(
    run: Run, measured: Measured, rendered: list[Rendered], decided: list[Decided], links: Links
) -> dict[str, Any]:
    """What the template of the run's page shows."""
    config, baselines = (
        run.config,
        plateaus((row.chains for item in run.items for row in item.rows), measured),
    )
    return {
        "config": config,
        "root": "",
        "what_was_run": _what_was_run(run, measured),
        "own_paper": own.PAPER,
        "seeds": sorted({chain.seed for chain in run.chains}),
        "stand_ins": list(_stand_ins(config, measured, rendered)),
        "left_out": list(dict.fromkeys(name for item in run.items for name in item.left_out)),
        "versions": _versions(),
        "papers": {item.paper: item.about for item in run.items},
        "claimed": {each.claim.paper: papers.paper(each.claim.paper, config) for each in decided},
        "rendered": [_Shown(each, links) for each in rendered],
        "shown_files": SHOWN_FILES,
        "claims": decided,
        "pooled": claims_page.pools_test_sets,
        "pools": any(len(config.task(task).pooled_tests) > 1 for task in run.tasks),
        "counts": claims_page.counts(decided),
        "plots": {each.claim.key: _interval(each) for each in decided},
        "verdict_of": claims_page.verdict_of,
        "sure": claims_page.how_sure(decided),
        "claims_file": paths.CLAIMS,
        "summary": claims_page.summary(decided),
        "caveat": claims_page.CAVEAT.replace("*", ""),
        "shown_name": claims_page.shown_name,
        "precision": claims_page.precision,
        "overview": overview(compared(run, measured), links.model, config),
        "plateaus": baselines,
        "baselines": _baselines(baselines),
        "plateau": PLATEAU,
        "baseline_links": {place: links.model(each.chain) for place, each in enumerate(baselines)},
        "models": _models(run, measured),
        "model_links": {place: links.model(chain) for place, chain in enumerate(run.chains)},
        "link": links,
    }


class _Shown:
    """A rendered table or figure, with links from its rows to models; all else is as rendered."""

    def __init__(self, rendered: Rendered, links: Links) -> None:
        self._rendered = rendered
        keyed = rendered.made.table is not None and bool(rendered.made.table.keys)
        rows = rendered.item.rows if keyed else ()
        self.links = {place: links.model(row.first) for place, row in enumerate(rows)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rendered, name)


def _what_was_run(run: Run, measured: Measured) -> str:
    """The run in a sentence: papers, data, recipes, seeds, models, hours."""
    titles = list(dict.fromkeys(item.about["short"] for item in run.items))
    occurring = {chain.seed for chain in run.chains}
    seeds = len(occurring.intersection(run.config.seeds) or occurring)
    made = sum(measured.scores(chain) is not None for chain in run.scored)
    hours = _hours(run, measured)
    length = f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.0f} minutes"
    cost = f", after {length} of training" if hours else ""
    recipes = len({chain.recipe for chain in run.chains})
    return (
        f"{_plural(len(run.items), 'table or figure', 'tables and figures')} of {_listed(titles)}, from "
        f"models of {_plural(recipes, 'recipe')} on {_plural(len(run.tasks), 'data set')} with "
        f"{_plural(seeds, 'seed')}: {made} of {len(run.scored)} models scored{cost}."
    )


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _listed(names: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _interval(each: Decided) -> Any:
    """The plot of the effect that decides a claim; None where no interval does."""
    deciding = each.finding.deciding
    if deciding is None:
        return None
    estimate = deciding.estimate
    return interval(estimate.low, estimate.value, estimate.high, deciding.bound)


def _stand_ins(config: Config, measured: Measured, rendered: list[Rendered]) -> Iterator[tuple[str, str]]:
    """The papers' data and models, each with its stand-in in the run and the size of it."""
    rows = [
        (each.item.about, row) for each in rendered if each.item.paper != own.PAPER for row in each.item.rows
    ]
    tasks = {about["tasks"][row.paper_task]: row.first.task for about, row in rows}
    recipes: dict[str, dict[str, list[Chain]]] = {}
    for about, row in rows:
        of_paper = recipes.setdefault(about["recipes"][row.paper_recipe], {})
        of_paper.setdefault(row.first.recipe, []).append(row.first)
    for theirs, task in tasks.items():
        yield theirs, f"{config.task(task).title}{_pairs(config, task)}"
    for theirs, ours in recipes.items():
        listed = (f"{config.recipe(name).title}{_parameters(ours[name], measured)}" for name in ours)
        yield theirs, "; ".join(listed)


def _pairs(config: Config, task: str) -> str:
    """The number of training pairs of a task as `, 29,000 training pairs`; empty if it is not known."""
    sizes = TaskSizes(config, task)
    return "" if sizes.assumed else f", {sizes.sentences('train'):,} training pairs"


def _parameters(chains: Iterable[Chain], measured: Measured) -> str:
    """The parameters of the unpruned models that chains begin with; empty if none has been scored.

    Vocabularies differ between tasks, and so do numbers of parameters.
    """
    roots = dict.fromkeys(chain.root_chain for chain in chains)
    counts = {value for root in roots if (value := measured.value(root, "parameters")) is not None}
    ends = [number("parameters", end) for end in sorted({min(counts), max(counts)})] if counts else []
    return f", {' to '.join(ends)} parameters" if ends else ""


def _versions() -> dict[str, str]:
    version_of = {"nmtprune": nmtprune.__version__, "Python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version_of[package] = versions.of(package)
    return version_of


def _baselines(reached: Iterable[Plateau]) -> Table:
    """The plateaus of trainings from scratch as a table."""
    headings = [
        "Model",
        "Updates",
        *(f"PPL at {share} %" if share < 100 else "at the end" for share in SHARES),
        "trained further",
        "gain (%)",
        "gain (BLEU)",
        "plateau",
    ]
    cells = [
        [
            str(each.chain),
            f"{each.updates:,}",
            *(f"{each.perplexity[share]:.2f}" for share in SHARES),
            f"{each.further:.2f}" if each.further else "",
            f"{each.gain.nll:.1f}".replace("-", "−"),
            "" if each.gain.bleu is None else number("delta", each.gain.bleu),
            "yes" if each.done else "no",
        ]
        for each in reached
    ]
    return Table(headings, ["name", *["ours"] * (len(headings) - 1)], cells, [])


PLATEAU = (  # how the table of baselines is read
    f"Development perplexity (PPL) in the training, and the lowest within {100 * MORE:.0f} % more updates at "
    "the last rate (trained further), if these were trained.",
    "Gains are in percent of the development negative log-likelihood per token, and in development BLEU. "
    "Where a model was not trained further, the gain is that of its own last updates.",
    f"A baseline is on its plateau if these updates gain less than {NLL_GAIN:g} % ({OWN_GAIN:g} % where it "
    f"was not trained further) and less than {BLEU_GAIN:g} BLEU, as a mean over the seeds of a row.",
    "What follows a baseline that still gains must be compared with the same trained further.",
)


def _models(run: Run, measured: Measured) -> Table:
    """All models of the run; where nothing is measured, the last column says why."""
    scored = set(run.scored)
    cells = [_model(chain, measured, chain in scored) for chain in run.chains]
    reasons = any(line[-1] for line in cells)
    headings = [*MODEL_HEADINGS, *(["Missing"] if reasons else [])]
    kinds = ["name", *["ours"] * (len(SHOWN) + 1), "name", *(["name"] if reasons else [])]
    return Table(headings, kinds, [line[: len(headings)] for line in cells], [])


def _model(chain: Chain, measured: Measured, to_score: bool) -> list[str]:
    """A line in the list of models; values that are missing are blank."""
    scores, updates = measured.scores(chain), measured.updates(chain)
    values = [number(m, float(scores[m])) if scores and scores.get(m) else "" for m in SHOWN]
    return [
        chain.steps_text,
        *values,
        "" if updates is None else f"{updates:,}",
        f"{chain.task}, {chain.recipe}, seed {chain.seed}",
        "" if scores or not to_score else measured.reason(chain),
    ]


def _hours(run: Run, measured: Measured) -> float:
    """Wall-clock hours of all trainings; a training that several models share counts once."""
    manifests = [manifest for model in run.models if (manifest := measured.manifest(model))]
    return sum(manifest.get("wall_seconds") or 0 for manifest in manifests) / 3600
