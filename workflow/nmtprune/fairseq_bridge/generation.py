"""Translations and likelihoods by fairseq itself, for every architecture that fairseq knows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import torch
from fairseq import models
from fairseq.data import Dictionary
from fairseq.data.language_pair_dataset import collate
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.utils import move_to_cuda

from nmtprune.experiment.search import Search
from nmtprune.fairseq_bridge import lstm, student  # noqa: F401  (importing them registers them)
from nmtprune.foundation.errors import UserError
from nmtprune.runtime import devices
from nmtprune.store.model import SPECIAL_SYMBOLS, UNKNOWN, Model


class FairseqEngine:
    """The engine that runs a model in fairseq, on the GPU if there is one.

    `others`: models with the same dictionaries that translate with it as an ensemble, whose
    probabilities are averaged piece by piece. Likelihoods and encodings are those of `model` alone.
    """

    name = "fairseq"

    def __init__(self, model: Model, device: str = "auto", others: Sequence[Model] = ()) -> None:
        self._device = torch.device(devices.torch_device(device))
        self._source, self._target = (
            as_dictionary(model.source_dictionary),
            as_dictionary(model.target_dictionary),
        )
        self._models = [
            build_model(each, self._source, self._target).to(self._device).eval() for each in (model, *others)
        ]
        self._model = self._models[0]

    @torch.inference_mode()
    def translate(self, sources: list[list[str]], search: Search, max_length: int) -> list[list[str]]:
        """See the interface.

        Raises UserError if unknowns are to be replaced and the model has no attention.
        """
        generator = SequenceGenerator(
            self._models,
            self._target,
            beam_size=search.beam,
            max_len_a=0,
            max_len_b=max_length,
            len_penalty=search.length_penalty,
        )
        batch = self._batch(sources)
        beams = generator.generate(self._models, batch)
        hypotheses: list[list[str]] = [[] for _ in sources]
        for index, best in zip(batch["id"].tolist(), beams, strict=True):
            hypotheses[index] = [self._target[piece] for piece in best[0]["tokens"].tolist()[:-1]]
            if search.replace_unknowns:
                hypotheses[index] = replace_unknowns(hypotheses[index], sources[index], best[0]["attention"])
        return hypotheses

    @torch.inference_mode()
    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """See the interface."""
        batch = self._batch(sources, targets)
        output = self._model(**batch["net_input"])
        log_probabilities = self._model.get_normalized_probs(output, log_probs=True, sample=batch)
        target = batch["target"]
        chosen = log_probabilities.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        totals = -chosen.masked_fill(target == self._target.pad(), 0.0).double().sum(-1)
        return totals[torch.argsort(batch["id"].to(totals.device))].tolist()

    @torch.inference_mode()
    def encode(self, sources: list[list[str]]) -> torch.Tensor:
        """The last encoder layer's output [sentences, length + 1, d] for sources of equal length.

        The end of sentence is the last position.
        """
        batch = self._batch(sources)
        encoder = self._model.encoder
        output = encoder(batch["net_input"]["src_tokens"], src_lengths=batch["net_input"]["src_lengths"])
        # fairseq's LSTM returns a tuple, and time comes first in all of fairseq's own encoders
        states = output["encoder_out"] if isinstance(output, dict) else output[0]
        states = states[0] if isinstance(states, list) else states
        states = states if isinstance(encoder, lstm.LstmEncoder) else states.transpose(0, 1)
        return states[torch.argsort(batch["id"].to(states.device))].float().cpu()

    def _batch(self, sources: list[list[str]], targets: list[list[str]] | None = None) -> dict[str, Any]:
        encoded = [_encode(self._source, source) for source in sources]
        wanted = (
            [None] * len(sources)
            if targets is None
            else [_encode(self._target, target) for target in targets]
        )
        samples = [
            {"id": index, "source": source, "target": target}
            for index, (source, target) in enumerate(zip(encoded, wanted, strict=True))
        ]
        batch = collate(
            samples, self._source.pad(), self._source.eos(), left_pad_source=True, left_pad_target=False
        )
        return move_to_cuda(batch, self._device) if self._device.type == "cuda" else batch


def replace_unknowns(hypothesis: list[str], source: list[str], attention: torch.Tensor) -> list[str]:
    """The hypothesis with each unknown piece replaced by the source piece with the largest attention weight.

    `attention`: [source length, target length], padded on the left, both with end of sentence. Neither
    padding nor end of sentence is copied. Raises UserError for a model without attention.
    """
    if not attention.numel():
        raise UserError(
            "decoding: replace_unknowns needs a model with attention, and this one has none; set it to false"
        )
    most = attention[-len(source) - 1 : -1].argmax(0).tolist()
    return [
        source[position] if piece == UNKNOWN else piece
        for piece, position in zip(hypothesis, most, strict=False)
    ]


def as_dictionary(symbols: list[str]) -> Dictionary:
    """The fairseq dictionary of `symbols`, which begin with the four special ones."""
    dictionary = Dictionary()
    for symbol in symbols[len(SPECIAL_SYMBOLS) :]:
        dictionary.add_symbol(symbol)
    return dictionary


def build_model(model: Model, source: Dictionary, target: Dictionary) -> Any:
    """The fairseq module with the weights of `model`.

    Raises UserError if the architecture is unknown or does not fit the weights.
    """
    architecture = model.options.get("arch") or model.options.get("_name")
    if architecture not in models.ARCH_MODEL_REGISTRY:
        raise UserError(f"fairseq does not know the architecture `{architecture}` of the model.")
    options = argparse.Namespace(**model.options | {"arch": architecture})
    module = models.build_model(options, TranslationTask(TranslationConfig(), source, target))
    try:
        module.load_state_dict(model.weights, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"the parameters do not fit the architecture `{architecture}`: {reason}") from error
    return module


def _encode(dictionary: Dictionary, pieces: list[str]) -> torch.Tensor:
    return torch.tensor([*(dictionary.index(piece) for piece in pieces), dictionary.eos()], dtype=torch.long)
