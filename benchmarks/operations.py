"""Floating-point operations of matrix products, counted from shapes.

A multiply-accumulate counts as two operations; padding is included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_update(architecture: Mapping[str, Any], types: int, sentences: int, source: int, target: int) -> int:
    """Operations of all matrix products of one training batch.

    These are the products of the forward pass, and twice as many for both gradients of each product.
    `architecture`: that of a recipe with a `transformer` or `nmtprune_lstm`; `types`: size of the target
    dictionary; `source`, `target`: pieces of a padded sentence, end of sentence included.
    """
    count = _lstm if architecture["name"] == "nmtprune_lstm" else _transformer
    output_projection = target * architecture["embed_dim"] * types
    return 3 * 2 * sentences * (count(architecture, source, target) + output_projection)


def _transformer(architecture: Mapping[str, Any], source: int, target: int) -> int:
    """Multiply-accumulates of one sentence pair in all layers."""
    width, hidden = architecture["embed_dim"], architecture["ffn_dim"]

    def attention(queries: int, keys: int) -> int:
        """Projections of queries, output, keys and values, then scores and weighted sums of values."""
        return 2 * queries * width**2 + 2 * keys * width**2 + 2 * queries * keys * width

    encoder = attention(source, source) + 2 * source * width * hidden
    decoder = attention(target, target) + attention(target, source) + 2 * target * width * hidden
    return architecture["encoder_layers"] * encoder + architecture["decoder_layers"] * decoder


def _lstm(architecture: Mapping[str, Any], source: int, target: int) -> int:
    """Multiply-accumulates of one sentence pair in all layers and in the dot attention."""
    width = architecture["embed_dim"]
    layers = (
        8 * width**2 * (architecture["encoder_layers"] * source + architecture["decoder_layers"] * target)
    )
    return layers + 2 * target * source * width + 2 * target * width**2
