"""The prunable weights of a model, and the classes, layers and matrices they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Parameter names of fairseq's architectures -> the weight class of See et al. 2016 (section 3.2, figure 2) they belong to.
CLASSES: tuple[tuple[str, str], ...] = (
    (r"encoder\.embed_(?:tokens|positions)\.", "source embedding"),
    (r"decoder\.embed_(?:tokens|positions|out)\.", "target embedding"),
    (r"decoder\.(?:output_projection|fc_out)\.", "softmax"),
    (r"decoder\.layers\.\d+\.encoder_attn\.", "attention"),
    (r"decoder\.attention\.", "attention"),
    (r"encoder\.layers\.(\d+)\.", "source layer {}"),
    (r"decoder\.layers\.(\d+)\.", "target layer {}"),
    (r"encoder\.lstm\.\w+?_l(\d+)", "source layer {}"),
)
EMBEDDINGS = frozenset({"source embedding", "target embedding", "softmax"})
_LAYER = re.compile(r"((?:encoder|decoder)\.layers\.\d+|[^.]+\.[^.]+)(?:\.\w+?_(l\d+))?")  # `_l0`: PyTorch's layers of an LSTM


def class_of(name: str) -> str:
    """The weight class of a parameter; a matrix that no class names (an input projection, a convolution) is a class of its own."""
    for pattern, label in CLASSES:
        match = re.match(pattern, name)
        if match:
            return label.format(*(int(number) + 1 for number in match.groups()))
    return name


def layer_of(name: str) -> str:
    """The layer a parameter lies in, as `encoder.layers.0` with all its matrices; embeddings and output projection by themselves."""
    match = _LAYER.match(name)
    return ".".join(filter(None, match.groups())) if match else name


def untied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict, one name for each that is tied (the first)."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    kept = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        kept[name] = tensor
    return kept


def prunable(state: Mapping[str, Tensor], embeddings: str) -> dict[str, Tensor]:
    """The weights that a percentage speaks of: matrices, each tied one once; never biases and layer norms.

    `embeddings`: `in` or `out`, whether embeddings and the output projection are among them.
    """
    matrices = {name: t for name, t in untied(state).items() if t.dim() >= 2 and t.is_floating_point()}
    if embeddings == "in":
        return matrices
    return {name: tensor for name, tensor in matrices.items() if class_of(name) not in EMBEDDINGS}
