"""Linguistic probing of a model's encoder (Wang et al. 2020, section 4 and A.2; Conneau et al. 2018)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from nmtprune.analysis.classifiers import Features, classify
from nmtprune.analysis.encoder import Encoder
from nmtprune.data.probing import SPLITS, Examples, Labelled, Missing, probes
from nmtprune.experiment import paths, senteval
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS, Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.senteval import CATEGORIES
from nmtprune.experiment.task import Probing
from nmtprune.foundation.files import digest, read_json, sha256_of, write_json
from nmtprune.scoring.significance import NORMAL_95
from nmtprune.store import manifest

SEED = 1  # of the classifiers; the same for all models, so that only the representations differ
COLUMNS = (
    "name",
    "category",
    "labels",
    "train",
    "dev",
    "test",
    "accuracy",
    "low",
    "high",
    "chance",
    "hidden",
    "dropout",
    "source",
    "missing",
)


def analyse(config: Config, chain: Chain) -> Analysis:
    """A row for each probe: its accuracy on the test examples in percent, and what to compare that with.

    `low`, `high`: Wilson's 95 % interval; `chance`: the accuracy of the most frequent training label;
    `hidden`, `dropout`: the chosen classifier; `source`: the origin of the examples; `missing`: the
    reason why there are no examples. Each row is stored beside the model as soon as it exists, so that
    an interrupted probing continues with the next probe.
    """
    settings, encoder = config.task(chain.task).probing, Encoder(config, chain)
    sizes = {split: settings.whole[split] for split in SPLITS.values()}
    kept, identity = paths.state(paths.model(chain)) / paths.KEPT_PROBES, _identity(config, chain)
    before = read_json(kept) if kept.exists() else {}
    rows: dict[str, dict[str, Any]] = before["rows"] if before.get("digest") == identity else {}
    for name, examples in probes(config.task(chain.task), paths.text(chain.task), config.data_dir, sizes):
        if name in rows:
            continue
        numbers = (
            {"missing": examples.reason}
            if isinstance(examples, Missing)
            else probe(encoder, examples, settings)
        )
        rows[name] = {"name": name, "category": CATEGORIES[name], **numbers}
        write_json(kept, {"digest": identity, "rows": rows})
    return Analysis(pd.DataFrame(rows.values(), columns=list(COLUMNS)))


def _identity(config: Config, chain: Chain) -> str:
    """A digest of everything that the rows depend on: model, settings, text, and the files of SentEval."""
    files = senteval.files_of(config.task(chain.task), config.data_dir)
    return digest(
        {
            "model": manifest.digest_of(config, chain),
            "settings": ANALYSIS_KINDS["probing"].identity(config, chain),
            "text": manifest.read(paths.text(chain.task) / paths.MANIFEST)["digest"],
            "senteval": {name: sha256_of(file) for name, file in files.items()},
        }
    )


def probe(encoder: Encoder, examples: Examples, settings: Probing) -> dict[str, Any]:
    """The numbers of one probe; `settings` have the sizes `hidden` and the rates `dropout` of the grid."""
    splits = {split: getattr(examples, split) for split in SPLITS.values()}
    numbered = {
        label: number
        for number, label in enumerate(sorted({label for each in splits.values() for _, label in each}))
    }
    features = {split: _features(encoder, each, numbered) for split, each in splits.items()}
    train, dev, test = features.values()
    best = classify(train, dev, test.vectors, settings.hidden, settings.dropout, SEED)
    correct = int((best.predictions == test.labels).sum())
    low, high = wilson(correct, len(examples.test))
    return {
        "labels": len(numbered),
        **{split: len(each) for split, each in splits.items()},
        "accuracy": 100 * correct / len(examples.test),
        "low": 100 * low,
        "high": 100 * high,
        "chance": 100 * majority(examples),
        "hidden": best.hidden,
        "dropout": best.dropout,
        "source": examples.source,
    }


def _features(encoder: Encoder, examples: Sequence[Labelled], numbered: Mapping[str, int]) -> Features:
    return Features(
        encoder.mean_pooled([line for line, _ in examples]),
        torch.tensor([numbered[label] for _, label in examples]),
    )


def majority(examples: Examples) -> float:
    """The test accuracy of always answering with the most frequent training label.

    Of equally frequent labels, the first one in the alphabet is taken.
    """
    counts = Counter(label for _, label in examples.train)
    answer = min(counts, key=lambda label: (-counts[label], label))
    return sum(label == answer for _, label in examples.test) / len(examples.test)


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share `correct` / `total`."""
    share, z = correct / total, NORMAL_95
    centre = share + z**2 / (2 * total)
    margin = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return (centre - margin) / (1 + z**2 / total), (centre + margin) / (1 + z**2 / total)
