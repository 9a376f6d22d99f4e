"""The duplicate encoder parameters that stock fairseq 0.12.2 writes beside the real ones."""

from __future__ import annotations

from typing import Any

KEYS = (
    "in_proj_weight",
    "in_proj_bias",
    "out_proj_weight",
    "out_proj_bias",
    "fc1_weight",
    "fc1_bias",
    "fc2_weight",
    "fc2_bias",
)


def without_fast_path(weights: dict[str, Any]) -> dict[str, Any]:
    """A model's state dict without the duplicates."""
    return {
        name: value
        for name, value in weights.items()
        if not (name.startswith("encoder.layers.") and name.rsplit(".", 1)[-1] in KEYS)
    }
