"""Trials: altered copies of one model, each scored once in one process.

Scores are stored at once, so that an interrupted analysis continues with the next trial. The model, its
data and its subwords are loaded once. Trials can be split over processes: each shard writes a file of
its own, and a reader sees what all shards have measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import Component
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import digest
from nmtprune.pruning.components import components_of
from nmtprune.scoring.evaluation import Evaluation
from nmtprune.scoring.perplexity import Likelihood
from nmtprune.scoring.scorer import Measurement
from nmtprune.store import checkpoints, manifest
from nmtprune.store.state import lock

Weights = Mapping[str, Tensor]
DEV = "dev"


class Trials:
    """The trials of a chain's model for one analysis, as a context manager that locks the shard's folder.

    `shard`: the name under which this process stores its measurements. Raises UserError for a model that
    is not a Transformer.
    """

    def __init__(self, config: Config, chain: Chain, analysis: str, shard: str = "all") -> None:
        settings = config.recipe(chain.recipe).importance
        self.config, self.chain, self.settings = config, chain, settings
        self.main = config.task(chain.task).main_test
        sets, shortlist = [DEV, self.main], config.shortlist(chain)
        self._evaluation = Evaluation(config, chain, sets, shortlist, settings.beam, settings.sentences)
        self._model = self._evaluation.model(chain)
        if not checkpoints.is_transformer(self._model.options):
            raise UserError(f"chain `{chain}`: only a Transformer has components, and this model is not one")
        self.weights: Weights = self._model.weights
        self.components: list[Component] = components_of(self.weights)
        scored = {"beam": settings.beam, "sentences": settings.sentences}
        identity = {"model": manifest.digest_of(config, chain), "version": ANALYSIS_KINDS[analysis].version}
        self._digest = digest(identity | scored | self._evaluation.identity)
        self._all = paths.state(paths.model(chain)) / analysis
        self._folder = self._all / shard
        self._kept: dict[str, Measurement] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Trials:
        self._stack.enter_context(lock(self._folder))
        self._file = self._stack.enter_context(open(self._folder / paths.TRIALS, "ab"))
        if self._file.tell() and not (self._folder / paths.TRIALS).read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # ends the last line, if the process that wrote it was killed
        for file in sorted(self._all.glob(f"*/{paths.TRIALS}")):
            self._kept |= dict(_read(file, self._digest))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(
        self, name: str, altered: Callable[[], Weights], on: str = DEV, translated: bool = True
    ) -> Measurement:
        """The scores of the altered model on the development set or another one; stored scores are reused.

        `name` identifies the alteration.
        """
        key = f"{name} on {on}{'' if translated else ' by likelihood'}"
        if key not in self._kept:
            model = replace(self._model, weights=dict(altered()))
            self._kept[key] = self._evaluation.scorer.measure(model, on, translated)
            self._file.write(_line(key, self._kept[key], self._digest).encode())
            self._file.flush()
            print(f"measured {key}", flush=True)
        return self._kept[key]


def _line(key: str, measured: Measurement, identity: str) -> str:
    bleu = (
        {}
        if measured.statistics is None
        else {"bleu": measured.bleu, "statistics": measured.statistics.tolist()}
    )
    likelihood = {"nll": measured.likelihood.sentences, "tokens": measured.likelihood.tokens}
    stored = {"digest": identity, "trial": key, "engine": measured.engine, **likelihood, **bleu}
    return json.dumps(stored) + "\n"


def _read(file: Path, identity: str) -> Iterator[tuple[str, Measurement]]:
    """The trials in a file that have this identity; an incomplete last line is ignored."""
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith(f'{{"digest": "{identity}"') or not line.endswith("}\n"):
                continue
            stored = json.loads(line)
            likelihood = Likelihood(stored["nll"], stored["tokens"])
            statistics = np.array(stored["statistics"]) if "statistics" in stored else None
            yield stored["trial"], Measurement(stored["engine"], likelihood, stored.get("bleu"), statistics)
