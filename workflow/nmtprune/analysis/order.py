"""Iterative ablation: the least harmful component is ablated next, again and again.

Wang and Tu 2020, section 3.3, figure 9.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from nmtprune.analysis.contribution import WHOLE, without
from nmtprune.analysis.trials import DEV, Trials
from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import Component, read_component
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.known import known
from nmtprune.scoring.scorer import Measurement
from nmtprune.store.ablation_order import ANALYSIS, ITERATIVE, ONE_SHOT


def analyse(config: Config, chain: Chain) -> Analysis:
    """Development and test scores as more and more components are ablated, in two orders (`method`).

    Each row has all components ablated up to and including its own; `number` 0 is the whole model. The
    development set determines the order, the test set is for reporting. `iterative` ablates next the
    component whose loss leaves the highest BLEU, with perplexity deciding between equal ones; `one-shot`
    orders components by their single losses, which the analysis `contribution` measured. Array for
    intervals over sentences of the test set: `test_bleu` [rows, sentences, 10] (as
    `Quality.statistics`). Raises UserError if `contribution` is missing.
    """
    file = paths.analysis(chain, "contribution")
    if not file.exists():
        raise UserError(f"there is no {file}: make it first (snakemake {file})")
    alone = pd.read_csv(file).sort_values(["drop", "drop_nll"], kind="stable")
    one_shot = [read_component(name) for name in alone["component"] if name != WHOLE]
    with Trials(config, chain, ANALYSIS) as run:
        most = min(run.settings.group, len(one_shot))
        orders = {ITERATIVE: _iterative(run, one_shot, most), ONE_SHOT: iter(one_shot[:most])}
        rows = [each for method, order in orders.items() for each in _rows(run, method, order)]
    statistics = np.stack([known(test.statistics) for _, test in rows]).astype(np.uint16)
    return Analysis(pd.DataFrame([row for row, _ in rows]), {"test_bleu": statistics})


def _iterative(run: Trials, one_shot: list[Component], most: int) -> Iterator[Component]:
    """Components in the order of iterative ablation, at most `most`.

    The first one is that of the one-shot order, since nothing else is ablated yet.
    """
    ablated, left = one_shot[:1], one_shot[1:]
    yield ablated[0]
    while len(ablated) < most:
        candidates = left
        if run.settings.candidates:
            likely = {
                each: run.measure(*_trial(run, [*ablated, each]), translated=False).likelihood.per_token
                for each in left
            }
            candidates = sorted(left, key=likely.__getitem__)[: run.settings.candidates]
        measured = {each: run.measure(*_trial(run, [*ablated, each])) for each in candidates}
        chosen = max(measured, key=lambda each: (measured[each].bleu, -measured[each].likelihood.per_token))
        ablated, left = [*ablated, chosen], [each for each in left if each != chosen]
        yield chosen


def _rows(run: Trials, method: str, order: Iterator[Component]) -> Iterator[tuple[dict, Measurement]]:
    ablated: list[Component] = []
    for number, component in enumerate([None, *order]):
        ablated += [component] if component else []
        dev, test = (run.measure(*_trial(run, ablated), on=name) for name in (DEV, run.main))
        row = {
            "method": method,
            "number": number,
            "component": str(component or WHOLE),
            "dev_bleu": dev.bleu,
            "dev_perplexity": dev.likelihood.perplexity,
            "test_bleu": test.bleu,
            "test_perplexity": test.likelihood.perplexity,
            "engine": dev.engine,
        }
        yield row, test


def _trial(run: Trials, ablated: list[Component]) -> tuple:
    """The name of a trial, independent of the order of ablation, and a function that makes its weights."""
    return "+".join(sorted(map(str, ablated))) or WHOLE, lambda: without(run, *ablated)
