"""Scores of models, and of many variants of one model, kept by digest so that nothing is scored twice."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import paths, slices
from nmtprune.experiment.chain import Chain, parse
from nmtprune.experiment.config import Config
from nmtprune.experiment.step_kinds import SPARSE
from nmtprune.foundation.files import digest, read_json, read_table, write_json, write_table
from nmtprune.foundation.known import known
from nmtprune.pruning.classes import prunable
from nmtprune.pruning.selection import masks_of_steps
from nmtprune.pruning.slicing import head_size, shape_of
from nmtprune.scoring import asked, sentence_statistics
from nmtprune.scoring.scorer import Measures, Scorer, Translating
from nmtprune.scoring.size import sparsity, stored_size
from nmtprune.store import checkpoints, manifest
from nmtprune.store.model import Model, of_chain, read_dictionary
from nmtprune.store.state import lock
from nmtprune.translation.opening import bytes_in_8_bits


class Evaluation:
    """Scores chains of one task, recipe and subwords; development and test sets are read and encoded once.

    `shortlist`: a file of candidates that limits the words of hypotheses. `beam`, `sentences`: if given, they
    replace the recipe's beam and limit the number of sentences of a set.
    """

    def __init__(
        self,
        config: Config,
        chain: Chain,
        sets: Iterable[str] | None = None,
        shortlist: Path | None = None,
        beam: int | None = None,
        sentences: int | None = None,
    ) -> None:
        self.config = config
        self.recipe = config.recipe(chain.recipe)
        self.data = config.data_folder(chain)
        task, text = config.task(chain.task), paths.text(chain.task)
        self.sets, self.test_sets = list(sets or task.splits), task.tests
        files = {
            name: (text / f"{name}.{task.source}", *config.references(chain.task, name)) for name in self.sets
        }
        decoding = self.recipe.decoding
        search = dataclasses.replace(decoding.search, beam=beam or decoding.beam)
        self.identity = {
            **slices.of_scores(config, chain.recipe),
            **asked.beside_bleu(config.settings),
            "text": manifest.read(text / paths.MANIFEST)["digest"],
        }
        subwords, settings = Subwords.load(self.data), config.settings
        translating = Translating(decoding.engine, settings["device"], search, shortlist)
        measures = Measures(settings["measures"], settings["comet_model"])
        self.scorer = Scorer(files, subwords, task.target, translating, measures, sentences)

    def model(self, chain: Chain) -> Model:
        """The model of a chain."""
        return of_chain(self.config, chain)

    def rows(
        self,
        chain: Chain,
        model: Model,
        masks: Mapping[str, Tensor] | None,
        translated: list[str],
        in_full: bool = True,
    ) -> list[dict[str, Any]]:
        """A row for each set, read from kept scores if the same model was scored in the same way before.

        `translated`: the sets to translate; for other sets only likelihoods are measured. `in_full`: measure
        `size_stored` too, the bytes on disk of a sparse model, or of the engine's files of a model in 8 bits.
        `seconds` is the time that scoring the model took, the same in each row.
        """
        directory = paths.model(chain)
        state = paths.state(directory)
        sized = {"sized": True} if chain.quantised_for else {}
        scored = {
            "model": manifest.digest_of(self.config, chain),
            "sets": self.sets,
            "translated": translated,
        }
        identity = digest({**scored, **self.identity, **sized})
        kept = state / paths.KEPT_SCORES
        with lock(state):
            if kept.exists() and (last := read_json(kept))["digest"] == identity and _whole(last["rows"]):
                return last["rows"]
            began = time.monotonic()
            masked = dataclasses.replace(model, weights=checkpoints.masked(model.weights, masks))
            names = prunable(model.weights, self.recipe.prunable.embeddings)
            weights, zeros = sparsity(masked.weights, names)
            facts = {
                "prunable": weights,
                "sparsity": 100 * zeros,
                "largest_pruned": _largest_pruned(model.weights, masks),
            }
            rows = self.scorer.score(masked, directory, translated, chain.quantised_for)
            facts["size_stored"] = _size_stored(chain, masked, state) if in_full else None
            facts |= _shape(model)
            facts["seconds"] = round(time.monotonic() - began, 3)
            rows = [{"chain": str(chain), **row, **facts} for row in rows]
            write_json(kept, {"digest": identity, "rows": rows})
        return rows

    def sentences(self, chain: Chain, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        """The statistics of all sentences of a chain's rows, named as in `scoring.sentence_statistics`."""
        return {
            f"{chain.last}/{row['set']}/{what}": array
            for row in rows
            for what, array in self.scorer.sentences(row["set"], paths.model(chain)).items()
            if row["hypotheses"] or what in ("nll", "tokens")
        }


def _size_stored(chain: Chain, model: Model, state: Path) -> int | None:
    """Bytes of a sparse model's file or of the engine's files of a model in 8 bits; None for other models."""
    if chain.quantised_for:
        return bytes_in_8_bits(model, chain.quantised_for, state)
    return stored_size(model.weights, state / "sparse.bin") if chain.form == SPARSE else None


def _shape(model: Model) -> dict[str, Any]:
    """`shape` as JSON; None if the model is not a Transformer."""
    if not checkpoints.is_transformer(model.options):
        return {"shape": None}
    return {"shape": json.dumps(shape_of(model.weights, head_size(model.options)))}


def development_bleu(config: Config, chain: Chain, options: Any) -> Callable[[Mapping[str, Tensor]], float]:
    """A function from weights to BLEU on the development set, for the selection of checkpoints.

    `options`: fairseq's options of the model.
    """
    evaluation = Evaluation(config, chain, ["dev"])
    task, binarised = config.task(chain.task), paths.binarised(evaluation.data)
    dictionaries = [read_dictionary(binarised / f"dict.{language}.txt") for language in task.languages]
    flat = checkpoints.options_by_name(options)
    return lambda weights: evaluation.scorer.bleu(Model(dict(weights), flat, *dictionaries))


def _whole(rows: list[dict[str, Any]]) -> bool:
    kept = [Path(row["hypotheses"]) for row in rows if row["hypotheses"]]
    return all(file.exists() and file.with_suffix(".nll").exists() for file in kept)


def _largest_pruned(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None) -> float | None:
    """The magnitude of the largest pruned weight (See et al. 2016, figure 5); None if no weight is pruned."""
    magnitudes = [weights[name][~mask].abs().max() for name, mask in (masks or {}).items() if not mask.all()]
    return float(max(magnitudes)) if magnitudes else None


def score(config: Config, chain: Chain) -> None:
    """Write scores.csv of a chain's model, and the statistics of its sentences.

    Development and test sets are translated; on a sample of the training data, likelihoods alone are
    measured. A model that only selects weights is also scored among its parent's variants, where tables read
    it, and need not have been made. Raises UserError if the model or its data is missing.
    """
    if chain.last.kind.selects and chain.parent:
        _score_variant(config, chain)
        if not paths.manifest(chain).exists():
            return
    evaluation = Evaluation(config, chain, shortlist=config.shortlist(chain))
    rows = evaluation.rows(chain, evaluation.model(chain), None, ["dev", *evaluation.test_sets])
    sentence_statistics.write(paths.model(chain) / paths.SENTENCES, evaluation.sentences(chain, rows))
    write_table(paths.model(chain) / paths.SCORES, rows)


def _score_variant(config: Config, chain: Chain) -> None:
    """Score in full one model that only selects weights; its rows join those of the parent's variants."""
    scored = []
    if paths.scores(chain).exists():
        scored = [(parse(row["chain"]), row["set"]) for row in read_table(paths.scores(chain))]
    in_full = [each for each, name in scored if name == "dev"]
    variants = dict.fromkeys([*(each for each, _ in scored), chain])
    score_variants(config, known(chain.parent), list(variants), [*in_full, chain])


def score_variants(
    config: Config, parent: Chain, variants: list[Chain], in_full: Collection[Chain] = ()
) -> None:
    """Write variants.csv of a model, and the statistics of sentences: a row for each variant and set.

    A variant is a step that only selects weights; all are scored in one process with one model in memory.
    Scored are the test sets that claims pool, by likelihood alone if a single weight class is pruned (See et
    al. 2016, figure 4). For variants `in_full`, the development set and the size on disk are included.
    """
    tests = config.task(parent.task).pooled_tests
    on_tests = functools.cache(lambda: Evaluation(config, parent, tests, config.shortlist(parent)))
    on_all = functools.cache(lambda: Evaluation(config, parent, ["dev", *tests], config.shortlist(parent)))
    evaluation = on_all() if set(variants) <= set(in_full) else on_tests()
    model = evaluation.model(parent)
    masks_of_step = masks_of_steps(
        model.weights, evaluation.recipe.prunable.embeddings, checkpoints.masks_of(parent)
    )
    rows, kept = [], {}
    for variant in variants:
        full = variant in in_full
        evaluation = on_all() if full else on_tests()
        translated = [] if variant.last.get("class") else evaluation.sets
        own = evaluation.rows(variant, model, masks_of_step(variant.last), translated, full)
        rows, kept = [*rows, *own], kept | evaluation.sentences(variant, own)
        print(f"scored {variant} in {rows[-1]['seconds']} s", flush=True)
    sentence_statistics.write(paths.model(parent) / paths.SENTENCES_OF_VARIANTS, kept)
    write_table(paths.model(parent) / paths.VARIANTS, rows)
