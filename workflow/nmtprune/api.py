"""nmtprune in Python: load a model by its chain; mask, slice, score and translate with it.

    from nmtprune import api

    model = api.load("toy/toy/s1/train")
    pruned = api.mask(model, api.masks(model, "prune-local-50"))
    rows = api.score(pruned)
    translations = api.translate(pruned, ["a sentence"])

The functions do the same as the steps and verbs of the same name; docs/python.md has examples. A function
returns a new model, or numbers, and writes nothing under results/. If it cannot do what is asked, it raises
UserError, whose text is a sentence for the user.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import chain as chains
from nmtprune.experiment import config as configuration
from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.shapes import Shape
from nmtprune.experiment.step_kinds import STEP_KINDS
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.pruning.classes import prunable
from nmtprune.pruning.selection import masks_of_steps, together
from nmtprune.pruning.slicing import head_size, shape_of
from nmtprune.scoring import size
from nmtprune.scoring.evaluation import Evaluation
from nmtprune.steps.slice import judge, without_dead
from nmtprune.store import checkpoints
from nmtprune.store.model import Model, of_chain
from nmtprune.translation.batching import translate_lines
from nmtprune.translation.opening import open_engine
from nmtprune.translation.shortlist import Shortlist

__all__ = ["LoadedModel", "UserError", "load", "mask", "masks", "score", "slice", "translate"]


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    `chain`: the chain that it was loaded by, even if the model was masked or sliced since. `model`: its
    tensors, fairseq's options and the dictionaries. `masks`: bool tensors by parameter name, True where a
    weight is kept; empty for a dense model.
    """

    config: Config
    chain: Chain
    model: Model
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights by fairseq's parameter names: float32 tensors on the CPU, zero where masked.

        Tied parameters are one tensor.
        """
        return self.model.weights

    @property
    def prunable(self) -> list[str]:
        """The names of the matrices that the recipe prunes; of tied ones only the first."""
        return list(prunable(self.weights, self.pruned_embeddings))

    @property
    def sparsity(self) -> float:
        """The percentage of prunable weights that are zero."""
        _, share = size.sparsity(self.weights, self.prunable)
        return 100 * share

    @property
    def parameters(self) -> int:
        """The number of weights, zeros included; tied weights count once."""
        return sum(tensor.numel() for tensor in size.unique_parameters(self.weights).values())

    @property
    def shape(self) -> Shape:
        """The widths of a Transformer's layers, from the bottom up.

        It looks like `{"encoder": [{"self": heads, "ffn": units}, ...], "decoder": ...}`. Raises UserError
        for a model that is not a Transformer.
        """
        if not checkpoints.is_transformer(self.model.options):
            raise UserError(f"chain `{self.chain}`: only the layers of a Transformer have a shape")
        return shape_of(self.weights, head_size(self.model.options))

    @property
    def pruned_embeddings(self) -> str:
        """Which embeddings the recipe prunes."""
        return self.config.recipe(self.chain.recipe).prunable.embeddings


def load(chain: str, settings: Iterable[str] = (), configfile: str | Path | None = None) -> LoadedModel:
    """Load the model of a chain, `<task>/<recipe>/s<seed>/<step>/...`, from the working directory's results/.

    `settings` (`["preset=multi30k"]`) and `configfile` override config.yaml, like `--set` and `--configfile`.
    Raises UserError if the chain is invalid, or if its model or data is missing.
    """
    config = configuration.load([Path(configfile)] if configfile else [], settings)
    parsed = chains.parse(paths.chain_text(chain))
    check_chain(config, parsed)
    return LoadedModel(config, parsed, of_chain(config, parsed), checkpoints.masks_of(parsed) or {})


def masks(model: LoadedModel, step: str) -> dict[str, Tensor]:
    """The masks that a step puts on a model, `prune-<scheme>-<percent>[-<class>]` or `ablate-<components>`.

    They are bool tensors of the parameters' shapes by parameter name, True where a weight is kept. Weights
    that are masked already stay masked. Raises UserError for a step that puts no masks on a model, or that
    cannot follow the model's chain.
    """
    chain = chains.parse(f"{model.chain}/{step}")
    check_chain(model.config, chain)
    if not chain.last.kind.selects:
        valid = (kind.usage for kind in STEP_KINDS.values() if kind.selects)
        raise UserError(f"step `{step}` puts no masks on a model; valid: {', '.join(valid)}")
    return masks_of_steps(model.weights, model.pruned_embeddings, dict(model.masks))(chain.last)


def mask(model: LoadedModel, masks: Mapping[str, Tensor]) -> LoadedModel:
    """A copy of the model with masked weights at zero.

    `masks`: what the function `masks` returns, or masks of your own: bool tensors of the parameters' shapes
    by parameter name, True where a weight is kept. Raises UserError for a name that the model does not have,
    and for a tensor of another shape or type.
    """
    for name, kept in masks.items():
        if name not in model.weights:
            raise UserError(f"mask: the model has no parameter `{name}`; {suggest(name, model.weights)}")
        if kept.dtype != torch.bool or kept.shape != model.weights[name].shape:
            wanted, given = list(model.weights[name].shape), list(kept.shape)
            raise UserError(
                f"mask: `{name}` needs a bool tensor of shape {wanted}, not one of {kept.dtype} and shape "
                f"{given}"
            )
    masked = replace(model.model, weights=checkpoints.masked(model.weights, masks))
    return replace(model, model=masked, masks=together(dict(model.masks), dict(masks)))


def slice(model: LoadedModel) -> LoadedModel:
    """The smaller dense model without dead hidden units and heads.

    Dead is what is at zero, or as the chain's lasso and the recipe's `lasso` say; the property `shape` tells
    what is left. The step `slice` begins with the last weights of a lasso, this function with the weights
    that it is given. Raises UserError for a model that is not a Transformer, or that an engine runs in 8
    bits.
    """
    if model.chain.quantised_for:
        raise UserError(
            f"chain `{model.chain}`: a model in 8 bits cannot be sliced; slice it before "
            f"int8-{model.chain.quantised_for}"
        )
    judged = judge(model.config, model.chain, model.weights, model.model.options)
    weights, options, _ = without_dead(model.weights, model.model.options, judged)
    return replace(model, model=replace(model.model, weights=weights, options=options), masks={})


def score(model: LoadedModel, sets: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Score a model on sets of its task, by default on all test sets.

    `dev` and `train` (a sample, by likelihood alone) are sets too. Returns a row for each set, with the
    columns of scores.csv (`set`, `bleu`, `chrf`, `perplexity`, `parameters`, `engine`, ...) and `sparsity`.
    Raises UserError for an unknown set.
    """
    task = model.config.task(model.chain.task)
    for name in sets or ():
        if name not in task.splits:
            raise UserError(
                f"score: task `{model.chain.task}` has no set `{name}`; {suggest(name, task.splits)}"
            )
    evaluation = Evaluation(
        model.config, model.chain, sets or task.tests, model.config.shortlist(model.chain)
    )
    translated = [name for name in evaluation.sets if name != "train"]
    with tempfile.TemporaryDirectory(prefix="nmtprune-") as folder:
        rows = evaluation.scorer.score(model.model, folder, translated, model.chain.quantised_for)
    return [
        {**{key: value for key, value in row.items() if key != "hypotheses"}, "sparsity": model.sparsity}
        for row in rows
    ]


def translate(model: LoadedModel, lines: Iterable[str], beam: int | None = None) -> list[str | None]:
    """Translate raw lines as the recipe decodes, with its engine and shortlist, and by default its beam.

    Returns a detokenised translation for each line; None for a line that is too long for the model. Raises
    UserError if the shortlist is missing, or if no engine can run the model.
    """
    recipe, chain = model.config.recipe(model.chain.recipe), model.chain
    shortlist = model.config.shortlist(chain)
    engine = open_engine(
        model.model,
        chain.quantised_for or recipe.decoding.engine,
        device=model.config.settings["device"],
        precision="int8" if chain.quantised_for else "float32",
        shortlist=Shortlist.load(shortlist) if shortlist else None,
    )
    search = replace(recipe.decoding.search, beam=beam or recipe.decoding.beam)
    return translate_lines(
        engine,
        Subwords.load(model.config.data_folder(chain)),
        list(lines),
        search,
        model.model.max_source_length,
    )
