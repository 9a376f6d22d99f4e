"""The weight classes of an architecture by name, without building it; no PyTorch is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EMBEDDINGS = frozenset({"source embedding", "target embedding", "softmax"})


def class_names(architecture: Mapping[str, Any]) -> list[str]:
    """The weight classes of See et al. 2016 (3.2) in a recipe's architecture, in the order of their figure 4.

    Tied embeddings are one class, with the first of their names, and so are tied decoder layers.
    """
    source, target = architecture.get("encoder_layers", 0), architecture.get("decoder_layers", 0)
    if architecture.get("tied_decoder_layers"):
        target = min(target, 1)
    layers = [
        f"{side} layer {number}"
        for side, count in (("source", source), ("target", target))
        for number in range(1, count + 1)
    ]
    attention = [] if architecture.get("attention") == "none" else ["attention"]
    tied = architecture.get("share_embeddings", "none")
    tables = {
        "none": ["softmax", "source embedding", "target embedding"],
        "target": ["source embedding", "target embedding"],
    }
    return [*layers, *attention, *tables.get(tied, ["source embedding"])]


def spelt(name: str) -> str:
    """A class as a step spells it: `source_layer_1`."""
    return name.replace(" ", "_")
