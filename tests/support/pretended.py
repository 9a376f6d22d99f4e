"""A run with made-up scores; no number in this file was measured."""

import functools
import math
import zlib

import numpy as np
import pandas as pd

from nmtprune.experiment import config, shapes
from nmtprune.measurements.measurements import Measured, Way
from nmtprune.scoring import significance

SENTENCES, WORDS = 200, 20
SEEDS = (1, 2, 3)
ABSENT = "is not scored yet"


class Pretended(Measured):
    """Made-up measurements.

    `quality` (0 to 1) of a chain determines its translations; each other measure is a function of the
    chain, and None is a missing score. `gains`: percentage of its likelihood that a baseline gains by
    further training; `precision`: that of a chain's training; `kept`: whether the statistics of
    sentences are available.
    """

    def __init__(
        self, run, quality=None, nll=None, values=None, analyses=None, shape=None, seconds=None, **more
    ):
        super().__init__(run)
        self._quality, self._nll, self._values = quality, nll, values or {}
        self._analyses, self._shape, self._seconds = analyses or {}, shape, seconds
        self._gains, self._precision, self._kept = (
            more.get("gains", 0.0),
            more.get("precision"),
            more.get("kept", True),
        )
        self._others, self._arrays = more.get("others", 0.0), more.get("arrays", {})
        self._bleu = functools.cache(self._bleu_of)
        self.analysis = lambda chain, name: self._analyses.get(name, lambda _: None)(chain)
        self.arrays = lambda chain, name: self._arrays.get(name, lambda _: None)(chain)
        self.history = self._history_of
        self.manifest = lambda chain: {"precision": self._precision(chain)} if self._precision else None

    def _history_of(self, chain):
        if "history" in self._analyses:
            return self._analyses["history"](chain)
        last = 2.0 if chain.last.text == "train" else 2.0 * (1 - self._gains / 100)
        return pd.DataFrame({"update": [0, 50, 100, 150], "dev_nll": [last] * 4})

    def of_sentences(self, chain, test_set, what):
        if not self._kept:
            return None
        if what == "bleu":
            quality = self._quality(chain) if self._quality else None
            return None if quality is None else translated(str(chain), round(quality, 6))
        nll = self._nll(chain) if self._nll else None
        if nll is None or what == "tokens":
            return None if nll is None else np.full(SENTENCES, 10.0)
        nll = nll - (0.5 - 0.4 * pruned_share(chain) if test_set == "train" else 0)
        return 10 * nll + np.random.default_rng(zlib.crc32(str(chain).encode())).normal(0, 0.3, SENTENCES)

    def _bleu_of(self, chain):
        statistics = self.of_sentences(chain, "test", "bleu")
        return None if statistics is None else float(significance.bleu(statistics.sum(0)))

    def value(self, chain, metric, test_set=1, way=None):
        if metric == "bleu":
            return self._bleu(chain)
        if metric == "dev_bleu":
            return None
        if metric in ("nll_per_token", "perplexity"):
            nll = self._nll(chain) if self._nll else None
            return nll if nll is None or metric == "nll_per_token" else math.exp(nll)
        if metric == "ffn_sparsity":
            return self.sparsity(chain, shapes.FFN)
        if metric == "macs_per_word":
            return 1e6 * (1 + 0.01 * chain.seed)
        return self._values[metric](chain) if metric in self._values else None

    def shape(self, chain):
        return self._shape(self.config, chain) if self._shape else None

    def scores(self, chain, test_set=None):
        return None

    def way(self, item):
        return Way("onnx", True) if self._seconds else None

    def speed(self, chain, way, batch_size=32):
        if self._seconds is None or way is None:
            return None
        seconds = self._seconds(chain)
        found = {
            "seconds": seconds,
            "seconds_low": 0.99 * seconds,
            "seconds_high": 1.01 * seconds,
            "runs": "5",
        }
        return {**found, "others_cpu": self._others}

    speed_up = Measured.speed_up

    def missing(self, chain, sources):
        there = set(self._analyses) | ({"scores"} if not self._kept else set())
        return None if set(sources) <= there else f"{chain} {ABSENT}"


@functools.cache
def translated(name: str, quality: float) -> np.ndarray:
    """BLEU statistics [sentences, 10] of translations in which a word is correct with probability `quality`.

    They are drawn with a seed from `name`.
    """
    draws = np.random.default_rng(zlib.crc32(name.encode()))
    totals = np.array([WORDS - order for order in range(4)])
    matches = draws.binomial(totals, quality ** np.arange(1, 5), size=(SENTENCES, 4))
    lengths = np.full((SENTENCES, 2), WORDS)
    return np.concatenate([lengths, matches, np.broadcast_to(totals, matches.shape)], axis=1).astype(float)


def pruned_share(chain):
    """The share of weights that a chain prunes."""
    return next((float(step["percent"]) / 100 for step in chain.steps if step.kind.name == "prune"), 0)


def run_of(*names, seeds=SEEDS, preset="paper"):
    """A configuration for these papers."""
    return config.from_settings({"preset": preset, "papers": list(names), "seeds": list(seeds)})
