"""The number of parameters of a recipe's model, by arithmetic, for plans before a model exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIGHT_CONVOLUTION = 3  # matrices d x d instead of attention's four: two before the gate, one after it


def parameters(architecture: Mapping[str, Any], types: tuple[int, int]) -> int | None:
    """The approximate number of parameters of a recipe's model; None if the recipe leaves a width to fairseq.

    Matrices and embeddings are counted, tied ones once. Biases are not: they are 2 % of a narrow model
    and negligible in a wide one. `types`: sizes of the two dictionaries.
    """
    width, name = architecture.get("embed_dim"), architecture["name"]
    if not width:
        return None
    tables = {"none": types[0] + 2 * types[1], "target": sum(types), "all": max(types)}[
        architecture.get("share_embeddings", "none")
    ]
    layers = architecture["encoder_layers"], architecture["decoder_layers"]
    if "lstm" in name:
        # an LSTM layer has two matrices 4d x d, attention has one of 2d x d or 3d x d, and fairseq's decoder
        # also reads its previous attention output
        attention = {"dot": 2, "none": 0}.get(architecture.get("attention", ""), 3)
        fed = 0 if name == "nmtprune_lstm" else 4
        return width * tables + width**2 * (8 * sum(layers) + attention + fed)
    if not architecture.get("ffn_dim"):
        return None
    feed_forward = 2 * width * architecture["ffn_dim"]
    inner = architecture["heads"] * architecture.get("head_dim", width // architecture["heads"])
    attention = 4 * width * inner
    over_own = LIGHT_CONVOLUTION * width**2 if name.startswith("lightconv") else attention
    in_decoder = 2 * width**2 if architecture.get("decoder_self") == "ssru" else over_own
    decoders = 1 if architecture.get("tied_decoder_layers") else layers[1]
    return (
        width * tables
        + layers[0] * (over_own + feed_forward)
        + decoders * (in_decoder + attention + feed_forward)
    )
