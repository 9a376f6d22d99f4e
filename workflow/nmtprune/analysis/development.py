"""The development set in subwords, as the analyses of components read it."""

from __future__ import annotations

from typing import NamedTuple

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import evenly_spaced, read_lines
from nmtprune.store.model import Model, pieces_of


class Pair(NamedTuple):
    """A sentence and its translation as lists of pieces, without end of sentence."""

    source: list[str]
    target: list[str]


def development(config: Config, chain: Chain, model: Model, most: int) -> list[Pair]:
    """At most `most` evenly spaced pairs of the development set that fit into the model's positions.

    Raises UserError if no pair fits.
    """
    task, subwords = config.task(chain.task), Subwords.load(config.data_folder(chain))
    sources, targets = (
        read_lines(paths.text(chain.task) / f"dev.{task.language(side)}") for side in ("source", "target")
    )
    lines = list(zip(sources, targets, strict=True))
    chosen = [lines[index] for index in evenly_spaced(len(lines), most)]
    pairs = [
        Pair(pieces_of(subwords.encode("source", source)), pieces_of(subwords.encode("target", target)))
        for source, target in chosen
    ]
    fitting = [
        p
        for p in pairs
        if len(p.source) <= model.max_source_length and len(p.target) <= model.max_target_length
    ]
    if not fitting:
        raise UserError(f"the development set of {chain.task} has no sentence that {chain} takes")
    return fitting
