"""The shape of a Transformer: the feed-forward units and attention heads of each layer.

A shape is `{"encoder": [{"ffn": 330, "self": 8}, ...], "decoder": [{"ffn": 1536, "cross": 8, "self": 8},
...]}`. The decoder has no `self` if an SSRU replaces its self-attention; tied layers are repeated. No
PyTorch is needed here.
"""

from __future__ import annotations

import json

Shape = dict[str, list[dict[str, int]]]

SIDES = ("encoder", "decoder")
FFN, ATTENTION = ("ffn",), ("self", "cross")


def read(text: str | None) -> Shape | None:
    """A shape from its JSON; None for a model without a shape, such as an LSTM."""
    return (json.loads(text) or None) if text else None


def widths(shape: Shape, tied_decoder: bool = False) -> dict[str, int]:
    """Feed-forward units and heads by name (`ffn_encoder_1`, `self_encoder_1`, `cross_decoder_1`).

    Feed-forward layers come first, then self-attention, then cross-attention, each from the encoder's
    first layer to the decoder's last. Tied decoder layers are one layer.
    """
    layers = {"encoder": shape["encoder"], "decoder": shape["decoder"][: 1 if tied_decoder else None]}
    return {
        f"{part}_{side}_{number}": layer[part]
        for part in (*FFN, *ATTENTION)
        for side in SIDES
        for number, layer in enumerate(layers[side], 1)
        if part in layer
    }


def sparsity(shape: Shape, dense: Shape, parts: tuple[str, ...], tied_decoder: bool = False) -> float:
    """The removed share of the units (FFN) or heads (ATTENTION) of a dense shape, in percent.

    Layers that were never pruned count too, and tied ones count once (Behnke and Heafield 2021, table
    1).
    """
    left, all_of_them = (
        sum(width for name, width in widths(each, tied_decoder).items() if name.partition("_")[0] in parts)
        for each in (shape, dense)
    )
    return 100 * (1 - left / all_of_them)
