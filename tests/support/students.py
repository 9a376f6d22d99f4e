"""Student Transformers with random weights, in the shapes that tests slice."""

import argparse
import functools

import torch

from nmtprune.store.model import SPECIAL_SYMBOLS

SYMBOLS = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(20))]
FFN, HEADS, HEAD_DIM, D = 12, 4, 4, 16
STUDENTS = {
    "6-6": {"decoder_self": "attention"},
    "swish": {"activation_fn": "swish"},
    "gelu": {"activation_fn": "gelu"},
    "ssru": {"decoder_self": "ssru", "share_all_embeddings": True},
    "tied": {"decoder_self": "ssru", "tied_decoder_layers": True},
    "tied, pre-norm": {
        "tied_decoder_layers": True,
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
    },
}


@functools.cache
def student(name):
    """The options and weights of a random student with large biases; tied tensors are tied."""
    import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

    from fairseq import models
    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    from nmtprune.fairseq_bridge import generation, student

    assert student.Student
    options = {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_embed_dim": D,
        "decoder_embed_dim": D,
        "encoder_ffn_embed_dim": FFN,
        "decoder_ffn_embed_dim": FFN,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "head_dim": HEAD_DIM,
        "dropout": 0.0,
        "shape": "",
    }
    torch.manual_seed(1)
    dictionary = generation.as_dictionary(SYMBOLS)
    namespace = argparse.Namespace(arch="nmtprune_transformer", **options | STUDENTS[name])
    module = models.build_model(namespace, TranslationTask(TranslationConfig(), dictionary, dictionary))
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter))
    return vars(namespace), module.state_dict()
