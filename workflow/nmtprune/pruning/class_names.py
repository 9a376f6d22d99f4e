"""The weight classes of an architecture by name, without building it. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EMBEDDINGS = frozenset({"source embedding", "target embedding", "softmax"})


def class_names(architecture: Mapping[str, Any]) -> list[str]:
    """The weight classes of See et al. 2016 (3.2) that a recipe's architecture has, in the order of their figure 4.

    Tied embeddings are one class, by the first of their names.
    """
    sides = (("source", "encoder_layers"), ("target", "decoder_layers"))
    layers = [f"{side} layer {number}" for side, key in sides for number in range(1, architecture.get(key, 0) + 1)]
    attention = [] if architecture.get("attention") == "none" else ["attention"]
    tied = architecture.get("share_embeddings", "none")
    tables = {"none": ["softmax", "source embedding", "target embedding"], "target": ["source embedding", "target embedding"]}
    return [*layers, *attention, *tables.get(tied, ["source embedding"])]


def spelt(name: str) -> str:
    """A class as a step spells it: `source_layer_1`."""
    return name.replace(" ", "_")
