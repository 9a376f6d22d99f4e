"""The prunable weights of a model, and the classes, layers, matrices and LSTM sub-groups they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from nmtprune.experiment.weight_classes import EMBEDDINGS

# Parameter names -> the weight class of See et al. 2016 (section 3.2, figure 2) they belong to; the first
# that fits counts. T: transformer and our student, C: lightconv, R: fairseq's lstm_luong (RNNSearch), L: our
# LSTM. A layer has all that lies in it: attention to itself or the SSRU in its place, convolution kernels
# with their projections, feed-forward and recurrent matrices. What is shared counts by its first name.
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
# The order in which the paper's figures show the classes.
_ORDER = ("source layer", "target layer", "attention", "softmax", "source embedding", "target embedding")
# The rows of an LSTM's matrix, a quarter each, in PyTorch's order.
GATES = ("input gate", "forget gate", "candidate", "output gate")
_LSTM = re.compile(
    r".*\.weight_(ih|hh)(?:_l\d+)?$"
)  # of nn.LSTM with the layer's number, of nn.LSTMCell without
_INPUT_FEEDING = (
    "decoder.layers.0.weight_ih"  # R: this cell reads an embedding and, beside it, the last attention vector
)
_LAYER = re.compile(
    r"((?:encoder|decoder)\.layers\.\d+|[^.]+\.[^.]+)(?:\.\w+?_(l\d+))?"
)  # `_l0`: PyTorch's layers of an LSTM


def class_of(name: str) -> str:
    """The weight class of a parameter.

    What the table does not name, in a model that came from elsewhere (say, the bridge behind a bidirectional
    LSTM encoder), is a class of its own: the paper's model has nothing in its place.
    """
    for pattern, label in CLASSES:
        match = re.match(pattern, name)
        if match:
            return label.format(*(int(number) + 1 for number in match.groups()))
    return name


def classes(names: Iterable[str]) -> list[str]:
    """The weight classes of these parameters in the paper's order: layers from the bottom up, attention,
    softmax, embeddings.
    """

    def place(label: str) -> tuple[int, int, str]:
        kind, _, number = label.rpartition(" ")
        if not number.isdigit():
            kind, number = label, "0"
        return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), int(number), label)

    return sorted({class_of(name) for name in names}, key=place)


class Subgroup(NamedTuple):
    """A part of an LSTM's weights (See et al. 2016, 3.2): what it computes, and from what."""

    weight_class: str
    gate: str
    connection: str

    def __str__(self) -> str:
        return ", ".join(self)


def subgroups(name: str, tensor: Tensor) -> dict[Subgroup, Tensor]:
    """The sub-groups of an LSTM's matrix as views, gate by gate; nothing for any other parameter.

    `weight_ih` [4n, input] has the four gates' feed-forward connections and `weight_hh` [4n, n] their
    recurrent ones: eight sub-groups make one T of 4n x 2n (eq. 2). Where a decoder is fed its last attention
    vector, those columns are a connection of their own.
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
    """The layer a parameter lies in, as `encoder.layers.0` with all its matrices; embeddings and output
    projection by themselves.
    """
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
