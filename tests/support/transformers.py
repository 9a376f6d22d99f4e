"""Small Transformers of fairseq, random or trained to copy, and random sentences for them."""

from __future__ import annotations

import argparse
import dataclasses
import random

import torch

from nmtprune.store.model import SPECIAL_SYMBOLS, Model

SYMBOLS = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(36))]
SHAPE = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_embed_dim": 16,
    "decoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "decoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "dropout": 0.0,
    "criterion": "cross_entropy",
}


def build(arch: str = "transformer", **options: object) -> Model:
    """A model with random weights, and embeddings enlarged so that its distributions are far from uniform."""
    import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

    from fairseq import models
    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    from nmtprune.fairseq_bridge.generation import as_dictionary

    torch.manual_seed(1)
    namespace = argparse.Namespace(arch=arch, **SHAPE | options)
    dictionary = as_dictionary(SYMBOLS)
    module = models.build_model(namespace, TranslationTask(TranslationConfig(), dictionary, dictionary))
    with torch.no_grad():
        module.decoder.embed_tokens.weight.mul_(6)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return Model(state, vars(namespace), SYMBOLS, SYMBOLS)


def train_to_copy(model: Model, lines: list[list[str]], updates: int = 250) -> Model:
    """The model trained to copy lines, so that it knows where to end."""
    from nmtprune.fairseq_bridge.generation import FairseqEngine

    engine = FairseqEngine(model, device="cpu")
    module = engine._model.train()
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for update in range(updates):
        drawn = random.Random(update).sample(lines, 48)
        batch = engine._batch(drawn, drawn)
        log_probabilities = module.get_normalized_probs(module(**batch["net_input"]), log_probs=True)
        loss = torch.nn.functional.nll_loss(
            log_probabilities.flatten(0, 1), batch["target"].flatten(), ignore_index=1
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return dataclasses.replace(
        model, weights={name: value.clone() for name, value in module.state_dict().items()}
    )


def sentences(generator: random.Random, count: int, shortest: int = 0, longest: int = 12) -> list[list[str]]:
    """Random lines; w36 and w37 are not in the dictionary."""
    return [
        [f"w{generator.randrange(38)}" for _ in range(generator.randint(shortest, longest))]
        for _ in range(count)
    ]
