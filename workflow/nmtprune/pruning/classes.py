"""The prunable weights of a model, with their weight classes, layers, matrices and LSTM sub-groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from nmtprune.experiment.architecture import EMBEDDINGS

# Patterns of parameter names, each with its weight class (See et al. 2016, section 3.2, figure 2); the first
# match counts. T: transformer and our student, C: lightconv, R: fairseq's lstm_luong (RNNSearch), L: our
# LSTM. The class of a layer includes its self-attention or SSRU, its convolution kernels with their
# projections, and its feed-forward and recurrent matrices. A tied matrix has the class of its first name.
CLASSES: tuple[tuple[str, str], ...] = (
    (r"encoder\.embed_(?:tokens|positions)\.", "source embedding"),  # T C R L
    (r"decoder\.embed_(?:tokens|positions)\.|decoder\.project_in_dim\.", "target embedding"),  # T C R L
    (
        r"decoder\.(?:output_projection\.|fc_out\.|embed_out$|project_out_dim\.)",
        "softmax",
    ),  # T L, R, C; projections: T and C
    (r"decoder\.layers\.\d+\.encoder_attn\.", "attention"),  # T C
    (r"decoder\.attention\.", "attention"),  # R: W_a and W_c of Luong et al. 2015; L: W_c
    (r"encoder\.layers\.(\d+)\.", "source layer {}"),  # T C
    (r"decoder\.layers\.(\d+)\.", "target layer {}"),  # T C R
    (r"encoder\.lstm\.\w+?_l(\d+)", "source layer {}"),  # R L
    (r"decoder\.lstm\.\w+?_l(\d+)", "target layer {}"),  # L
)
# Order of the classes in the paper's figures.
_ORDER = ("source layer", "target layer", "attention", "softmax", "source embedding", "target embedding")
# Each gate has a quarter of the rows of an LSTM's matrix, in PyTorch's order.
GATES = ("input gate", "forget gate", "candidate", "output gate")
# nn.LSTM numbers its layers (`_l0`), nn.LSTMCell does not.
_LSTM = re.compile(r".*\.weight_(ih|hh)(?:_l\d+)?$")
# R: the input of this cell is an embedding followed by the previous attention vector.
_INPUT_FEEDING = "decoder.layers.0.weight_ih"
_LAYER = re.compile(r"((?:encoder|decoder)\.layers\.\d+|[^.]+\.[^.]+)(?:\.\w+?_(l\d+))?")


def class_of(name: str) -> str:
    """The weight class of a parameter.

    A parameter of an imported model that CLASSES does not match (for example the bridge after a
    bidirectional LSTM encoder) is a class of its own, since the paper's model has no counterpart.
    """
    for pattern, label in CLASSES:
        match = re.match(pattern, name)
        if match:
            return label.format(*(int(number) + 1 for number in match.groups()))
    return name


def classes(names: Iterable[str]) -> list[str]:
    """Weight classes of parameters in the paper's order: layers bottom-up, attention, softmax, embeddings."""

    def place(label: str) -> tuple[int, int, str]:
        kind, _, number = label.rpartition(" ")
        if not number.isdigit():
            kind, number = label, "0"
        return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), int(number), label)

    return sorted({class_of(name) for name in names}, key=place)


class Subgroup(NamedTuple):
    """A part of an LSTM's weights (See et al. 2016, 3.2), given by its class, gate and connection."""

    weight_class: str
    gate: str
    connection: str

    def __str__(self) -> str:
        return ", ".join(self)


def subgroups(name: str, tensor: Tensor) -> dict[Subgroup, Tensor]:
    """The sub-groups of an LSTM's matrix as views, gate by gate; empty for any other parameter.

    `weight_ih` [4n, input] holds the feed-forward connections of the four gates and `weight_hh` [4n, n]
    their recurrent connections: together, eight sub-groups form one T of 4n x 2n (eq. 2). Where a
    decoder also reads its previous attention vector, the columns of that vector are a connection of
    their own, `input feeding`.
    """
    match = _LSTM.match(name)
    if match is None:
        return {}
    width = tensor.shape[0] // len(GATES)
    columns = {"feed-forward" if match[1] == "ih" else "recurrent": tensor}
    if name == _INPUT_FEEDING:
        columns = {"feed-forward": tensor[:, :-width], "input feeding": tensor[:, -width:]}
    return {
        Subgroup(class_of(name), gate, connection): part[row * width : (row + 1) * width]
        for connection, part in columns.items()
        for row, gate in enumerate(GATES)
    }


def layer_of(name: str) -> str:
    """The layer of a parameter, such as `encoder.layers.0`.

    An embedding or an output projection is a layer of its own.
    """
    match = _LAYER.match(name)
    return ".".join(filter(None, match.groups())) if match else name


def untied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict without repetition: a tied tensor keeps its first name only."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    kept = {}
    for name, tensor in weights.items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        kept[name] = tensor
    return kept


def prunable(weights: Mapping[str, Tensor], embeddings: str) -> dict[str, Tensor]:
    """The weights that a pruning percentage counts: all matrices, each tied one once.

    Biases and layer norms do not count. `embeddings`: `in` to count embeddings and the output
    projection, `out` to leave them out.
    """
    matrices = {name: t for name, t in untied(weights).items() if t.dim() >= 2 and t.is_floating_point()}
    if embeddings == "in":
        return matrices
    return {name: tensor for name, tensor in matrices.items() if class_of(name) not in EMBEDDINGS}
