"""Models of every architecture with components that can be observed, and sentences for them."""

import json

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import build_model
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from nmtprune.experiment.architecture import Architecture
from nmtprune.fairseq_bridge import arguments, generation
from nmtprune.store import checkpoints
from nmtprune.store.model import SPECIAL_SYMBOLS, Model

SYMBOLS = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(20))]
SMALL = {"encoder_layers": 2, "decoder_layers": 3, "embed_dim": 16, "ffn_dim": 24, "heads": 4, "dropout": 0.1}
STUDENT, STOCK = "nmtprune_transformer", "transformer"
SHAPE = {
    "encoder": [{"ffn": 5, "self": 1}, {"ffn": 0, "self": 0}],
    "decoder": [
        {"ffn": 7, "cross": 2, "self": 0},
        {"ffn": 0, "cross": 0, "self": 3},
        {"ffn": 2, "cross": 4, "self": 4},
    ],
}
SOURCES = [["w1", "w2", "w3"], ["w4"], ["w5", "w6", "w7", "w8", "w9", "w1"]]
TARGETS = [["w3", "w2"], ["w9", "w8", "w7", "w1"], ["w5"]]
LACKING = {
    "encoder": [{"ffn": 8}, {"self": 2}],
    "decoder": [{"cross": 2, "ffn": 8}, {"self": 4}, {"self": 2, "cross": 1}],
}
ARCHITECTURES = {
    "fairseq's, post-norm": {"name": STOCK, "norm": "post"},
    "fairseq's, pre-norm": {"name": STOCK, "norm": "pre"},
    "student, post-norm": {"name": STUDENT, "norm": "post"},
    "student, pre-norm": {"name": STUDENT, "norm": "pre"},
    "SSRU": {"name": STUDENT, "decoder_self": "ssru"},
    "tied": {"name": STUDENT, "tied_decoder_layers": True},
    "wide heads": {"name": STUDENT, "heads": 3, "head_dim": 8},
    "sliced": {"name": STUDENT, "norm": "pre", "shape": SHAPE},
    "without some": {"name": STUDENT, "shape": LACKING},
}


def model(architecture):
    """A model with random weights from seed 1, including layer norms and biases."""
    shape = architecture.get("shape")
    stated = SMALL | {key: value for key, value in architecture.items() if key != "shape"}
    argv = [
        "data",
        "--task",
        "translation",
        *arguments.of_architecture(Architecture.over(stated)),
        *(["--shape", json.dumps(shape)] if shape else []),
    ]
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), input_args=argv)
    ).model
    torch.manual_seed(1)
    dictionary = generation.as_dictionary(SYMBOLS)
    module = build_model(cfg, TranslationTask(TranslationConfig(), dictionary, dictionary))
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Model(module.state_dict(), checkpoints.options_by_name(cfg), SYMBOLS, SYMBOLS)
