"""Trials: altered copies of one model, each scored once in one process and kept, so that what was stopped
goes on with the next.

The model, its data and its subwords are loaded once. Trials may be shared out: each shard keeps a file of its
own, and whoever reads them finds what all of them have measured.
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

State = Mapping[str, Tensor]
DEV = "dev"


class Trials:
    """The trials of a chain's model for one analysis. Raises UserError for a model that is no Transformer.

    `shard`: this process keeps what it measures as the shard of this name. Use it as a context: a trial is
    locked while it is at work.
    """

    def __init__(self, config: Config, chain: Chain, analysis: str, shard: str = "all") -> None:
        settings = config.importance(chain.recipe)
        self.config, self.chain, self.settings = config, chain, settings
        self.main = next(iter(config.task(chain.task)["test"]))
        sets, shortlist = [DEV, self.main], config.shortlist(chain)
        self._evaluation = Evaluation(config, chain, sets, shortlist, settings["beam"], settings["sentences"])
        self._model = self._evaluation.model(chain)
        if not checkpoints.is_transformer(self._model.options):
            raise UserError(f"chain `{chain}`: components are a Transformer's, and this model is none")
        self.state: State = self._model.state
        self.components: list[Component] = components_of(self.state)
        scored = {key: settings[key] for key in ("beam", "sentences")}
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
            self._file.write(b"\n")  # after a line that a kill has torn
        for file in sorted(self._all.glob(f"*/{paths.TRIALS}")):
            self._kept |= dict(_read(file, self._digest))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(
        self, name: str, altered: Callable[[], State], on: str = DEV, translated: bool = True
    ) -> Measurement:
        """The altered model, or what was kept of it, on the development set or another; `name` says what it
        is.
        """
        key = f"{name} on {on}{'' if translated else ' by likelihood'}"
        if key not in self._kept:
            model = replace(self._model, weights=dict(altered()))
            self._kept[key] = self._evaluation.scorer.measure(model, on, translated)
            self._file.write(_line(key, self._kept[key], self._digest).encode())
            self._file.flush()
            print(f"measured {key}", flush=True)
        return self._kept[key]


def _line(key: str, found: Measurement, identity: str) -> str:
    of_bleu = (
        {} if found.statistics is None else {"bleu": found.bleu, "statistics": found.statistics.tolist()}
    )
    likelihood = {"nll": found.likelihood.sentences, "tokens": found.likelihood.tokens}
    return (
        json.dumps({"digest": identity, "trial": key, "engine": found.engine, **likelihood, **of_bleu}) + "\n"
    )


def _read(file: Path, identity: str) -> Iterator[tuple[str, Measurement]]:
    """The trials of a file that are of this identity; a last line that a kill has torn is none."""
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith(f'{{"digest": "{identity}"') or not line.endswith("}\n"):
                continue
            found = json.loads(line)
            likelihood = Likelihood(found["nll"], found["tokens"])
            statistics = np.array(found["statistics"]) if "statistics" in found else None
            yield found["trial"], Measurement(found["engine"], likelihood, found.get("bleu"), statistics)
