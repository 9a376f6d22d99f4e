"""Operations counted from shapes equal those of the products that PyTorch runs."""

import sys

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
from fairseq.data import Dictionary
from support.workplace import REPOSITORY
from torch.utils.flop_counter import FlopCounterMode

from nmtprune.fairseq_bridge.lstm import Lstm, LstmConfig

BENCHMARKS = REPOSITORY / "benchmarks"
SENTENCES, SOURCE, TARGET = 3, 7, 5


@pytest.fixture(scope="module")
def operations():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import operations
    finally:
        sys.path.remove(str(BENCHMARKS))
    return operations


class Task:
    """What fairseq's models ask their task for."""

    def __init__(self):
        self.source_dictionary = self.target_dictionary = Dictionary()
        for number in range(16):
            self.target_dictionary.add_symbol(f"piece{number}")


def transformer(architecture, task):
    from argparse import Namespace

    from fairseq.models.transformer import TransformerModel, base_architecture

    sizes = {
        f"{side}_{name}": architecture[key]
        for side in ("encoder", "decoder")
        for name, key in {
            "embed_dim": "embed_dim",
            "ffn_embed_dim": "ffn_dim",
            "attention_heads": "heads",
            "layers": f"{side}_layers",
        }.items()
    }
    args = Namespace(**sizes, dropout=0.1, share_all_embeddings=True)
    base_architecture(args)
    return TransformerModel.build_model(args, task)


def counted(model, types):
    """Operations of a forward and a backward pass, as PyTorch counts them."""
    source, target = (torch.randint(4, types, (SENTENCES, length)) for length in (SOURCE, TARGET))
    with FlopCounterMode(display=False) as counter:
        logits, _ = model(source, torch.full((SENTENCES,), SOURCE), target)
        logits.sum().backward()
    return counter.get_total_flops()


def test_a_transformers_are_what_pytorch_counts(operations):
    task = Task()
    types = len(task.target_dictionary)
    architecture = {
        "name": "transformer",
        "embed_dim": 8,
        "ffn_dim": 24,
        "heads": 2,
        "encoder_layers": 2,
        "decoder_layers": 3,
    }
    model = transformer(architecture, task).train()
    for layer in [*model.encoder.layers, *model.decoder.layers]:
        for name in ("self_attn", "encoder_attn"):
            if attention := getattr(layer, name, None):
                attention.skip_embed_dim_check = (
                    True  # fairseq's own products, which our training runs, not PyTorch's fused ones
                )
    assert operations.of_update(architecture, types, SENTENCES, SOURCE, TARGET) == counted(model, types)


def test_an_lstms_are_what_pytorch_counts(operations):
    """But one product: the encoder begins with zeros, which need no gradient.

    PyTorch counts nothing in oneDNN's kernel.
    """
    task = Task()
    types = len(task.target_dictionary)
    width, layers = 8, 2
    architecture = {
        "name": "nmtprune_lstm",
        "embed_dim": width,
        "encoder_layers": layers,
        "decoder_layers": layers,
    }
    model = Lstm.build_model(
        LstmConfig(embed_dim=width, encoder_layers=layers, decoder_layers=layers, dropout=0.0), task
    ).train()
    of_first_state = 2 * SENTENCES * layers * 4 * width**2
    with torch.backends.mkldnn.flags(enabled=False):
        assert (
            operations.of_update(architecture, types, SENTENCES, SOURCE, TARGET)
            == counted(model, types) + of_first_state
        )
