"""Groups of weights that group lasso shrinks together, and when a group is dead.

Behnke & Heafield 2021, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

WHERE = {"enc": ("encoder",), "dec": ("decoder",), "both": ("encoder", "decoder")}
BLOCK = 8  # rows and columns of a block (figure 1)
THRESHOLD = 1e-5  # a group with a smaller sum is dead (4.2)
GAP = 1.0  # least width in decades of the gap between the norms of dead and living groups
STRAGGLERS = 0.01  # largest share of the groups that may lie in the gap; each side must hold a larger share

# Prefix of a component's parameter names inside a layer.
COMPONENTS = {"ffn": "", "cross": "encoder_attn.", "self": "self_attn."}
# Matrices of a component with the axis of their hidden units: rows (0) produce units, columns (1) read them.
_FFN = {"fc1": 0, "fc2": 1}
_ATTENTION = {"q_proj": 0, "k_proj": 0, "v_proj": 0, "out_proj": 1}
_NORMS = {"ffn": "final", "cross": "encoder_attn", "self": "self_attn"}
_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.")
_SUB_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(?:fc2|(self|encoder)_attn\.out_proj)\.bias$")


class SubLayer(NamedTuple):
    """A feed-forward or attention sub-layer of a Transformer."""

    side: str
    layer: int
    component: str

    @property
    def prefix(self) -> str:
        """Prefix of its parameter names, such as `encoder.layers.0.` or `decoder.layers.1.encoder_attn.`."""
        return f"{self.side}.layers.{self.layer}.{COMPONENTS[self.component]}"

    @property
    def matrices(self) -> dict[str, int]:
        """Its matrices, each with the axis of its hidden units."""
        return _FFN if self.component == "ffn" else _ATTENTION

    @property
    def outgoing(self) -> str:
        """The name of the linear layer that its output comes out of."""
        return f"{self.prefix}{list(self.matrices)[-1]}"

    @property
    def layer_norm(self) -> str:
        """The name of its layer norm."""
        return f"{self.side}.layers.{self.layer}.{_NORMS[self.component]}_layer_norm"


def layer_numbers(names: Iterable[str], side: str) -> list[int]:
    """The numbers that the layers of a side have in parameters' names, from 0 at the bottom."""
    matches = filter(None, map(_LAYER.match, names))
    return sorted({int(match[2]) for match in matches if match[1] == side})


def renumbered(name: str, numbers: Mapping[str, Mapping[int, int]]) -> str:
    """A parameter's name with the new number of its layer; `numbers`: by side, from the old one."""
    return _LAYER.sub(lambda match: f"{match[1]}.layers.{numbers[match[1]][int(match[2])]}.", name, count=1)


def sub_layers(names: Iterable[str]) -> list[SubLayer]:
    """The feed-forward and attention sub-layers of a model: encoder before decoder, bottom-up.

    Empty sub-layers, which have only a bias left, are included.
    """
    unordered = []
    for match in filter(None, map(_SUB_LAYER.match, names)):
        component = {None: "ffn", "self": "self", "encoder": "cross"}[match[3]]
        unordered.append(SubLayer(match[1], int(match[2]), component))
    return sorted(
        unordered,
        key=lambda each: (each.side == "decoder", each.layer, list(COMPONENTS).index(each.component)),
    )


@dataclass(frozen=True)
class GroupSet:
    """The groups of one matrix: blocks of `block` = (rows, columns) that tile `weight`, smaller at the edges.

    A row is a block of 1 x columns, and the submatrix of a head is a block of head_dim x columns. If
    there is a `bias` [rows], each of its values belongs to the group of its row. `axis` is the axis of
    the matrix's hidden units.
    """

    sub_layer: SubLayer
    matrix: str
    axis: int
    block: tuple[int, int]
    weight: Tensor
    bias: Tensor | None = None

    @property
    def sizes(self) -> Tensor:
        """The number of weights of each group, d_g of equation 1 [groups], float32."""
        heights, widths = (
            _extents(length, step, self.weight.device)
            for length, step in zip(self.weight.shape, self.block, strict=True)
        )
        return torch.outer(heights, widths + (self.bias is not None)).flatten()

    def norms(self) -> Tensor:
        """L2 norms of the groups [groups], float32, differentiable; a group of zeros has gradient zero."""
        return self._reduced(2)

    def sums(self) -> Tensor:
        """Sums of the groups' absolute values [groups], float32."""
        return self._reduced(1)

    def squares(self) -> Tensor:
        """Sums of the groups' squared values [groups], float32."""
        return self.norms().square()

    def rms(self) -> Tensor:
        """Root mean squares of the groups [groups], float32: norms that compare across group sizes."""
        return self.norms() / self.sizes.sqrt()

    def dead_units(self, dead: Tensor) -> Tensor:
        """Hidden units (bool [units]) whose weights are all zero or in `dead` groups (bool [groups]).

        Units are rows or columns, by `axis`.
        """
        (rows, columns), (height, width) = self.weight.shape, self.block
        grid = (
            dead.view(-1, -(-columns // width))
            .repeat_interleave(height, 0)[:rows]
            .repeat_interleave(width, 1)[:, :columns]
        )
        return (grid | (self.weight == 0)).all(1 - self.axis)

    def _reduced(self, order: int) -> Tensor:
        """Norms of the given order, one for each group [groups]."""
        (rows, columns), (height, width) = self.weight.shape, self.block
        padded = (
            functional.pad(self.weight, (0, -columns % width, 0, -rows % height))
            if columns % width or rows % height
            else self.weight
        )
        tiles = padded.view(padded.shape[0] // height, height, padded.shape[1] // width, width)
        norms = torch.linalg.vector_norm(tiles, order, (1, 3), dtype=torch.float32).flatten()
        if self.bias is None:
            return norms
        biases = torch.linalg.vector_norm(self.bias.view(-1, height), order, 1, dtype=torch.float32)
        return torch.linalg.vector_norm(torch.stack((norms, biases)), order, 0)


def groups(parameters: Mapping[str, Tensor], kind: str, where: str, head_dim: int) -> list[GroupSet]:
    """The groups of a Transformer, one set for each matrix; tied tensors count once.

    `parameters` have fairseq's names. Groups are hidden units, never residual dimensions. `ffn`: each
    row of W1 with its bias and each column of W2, two groups for each unit. `ffn+att` adds every output
    unit of Q, K and V (a row with its bias) and every input unit of O (a column). `ffn+heads` adds whole
    heads, four groups for each: its submatrices of Q, K, V (rows with biases) and O (columns). The paper
    says "we treat parameters in its rows, columns or heads as one entity" of each matrix (section 3;
    equation 1 also splits *a matrix*), and applies lasso "to a whole head submatrix" (7). `blocks8`
    tiles W1 and W2 into blocks of 8 x 8 without biases (figure 1).

    `where` (enc, dec, both) selects the sides; cross-attention belongs to the decoder. Recurrent units
    (SSRU) are in no group.
    """
    sets, seen = [], set()
    for sub_layer in sub_layers(parameters):
        if sub_layer.side not in WHERE[where] or (
            sub_layer.component != "ffn" and kind in ("ffn", "blocks8")
        ):
            continue
        for matrix, axis in sub_layer.matrices.items():
            weight = parameters.get(f"{sub_layer.prefix}{matrix}.weight")
            if weight is None or weight.data_ptr() in seen:  # the sub-layer is empty or tied
                continue
            seen.add(weight.data_ptr())
            bias = parameters[f"{sub_layer.prefix}{matrix}.bias"] if axis == 0 and kind != "blocks8" else None
            sets.append(
                GroupSet(
                    sub_layer, matrix, axis, _block(sub_layer, axis, kind, head_dim, weight), weight, bias
                )
            )
    return sets


def by_threshold(sets: list[GroupSet], threshold: float = THRESHOLD) -> list[Tensor]:
    """Groups whose absolute values sum to less than `threshold` (4.2): bool [groups] for each set."""
    return [each.sums() < threshold for each in sets]


def by_squares(sets: list[GroupSet], threshold: float = THRESHOLD) -> list[Tensor]:
    """Groups whose squared values sum to less than `threshold`: bool [groups] for each set."""
    return [each.squares() < threshold for each in sets]


def by_cut(sets: list[GroupSet], cuts: Mapping[str, float | None]) -> list[Tensor]:
    """Groups with a root mean square below their matrix's cut, and groups of zeros.

    Returns bool [groups] for each set.
    """
    return [each.rms() < (cuts[each.matrix] or torch.finfo().tiny) for each in sets]


def gap_cuts(
    parameters: Mapping[str, Tensor], kind: str, where: str, head_dim: int
) -> dict[str, float | None]:
    """The cut between dead and living groups in root mean squares, for each matrix (fc1, ..., out_proj).

    All layers of a matrix count together. If a lasso leaves almost nothing alive in a matrix, its norms
    have only one peak. The cut is then that of all feed-forward and attention sub-layers of the model
    together, which show the norms of living groups. None where there is no gap.
    """
    sets = groups(parameters, kind, where, head_dim)
    common = gap(
        torch.cat([each.rms() for each in [*sets, *groups(parameters, "ffn+att", "both", head_dim)]])
    )
    own = {
        matrix: torch.cat([each.rms() for each in sets if each.matrix == matrix])
        for matrix in dict.fromkeys(e.matrix for e in sets)
    }
    return {matrix: gap(rms) or common for matrix, rms in own.items()}


def gap(rms: Tensor) -> float | None:
    """The cut between the two peaks of a distribution of group norms [groups]; None if there is one peak.

    Under Adam, dead groups settle at a level set by the learning rate, far above 1e-5 in a short
    training. The gap between this level and the living groups is the widest stretch of log10 norms that
    holds at most 1 % of the groups. It counts if it is at least a decade wide and more than 1 % of the
    groups lie on each side; the cut is its middle. Groups of zeros are ignored.
    """
    logs = rms.detach().float()[rms > 0].log10().sort().values
    inside = int(STRAGGLERS * len(logs))
    low, high = (
        logs[inside : max(inside, len(logs) - 2 * inside - 1)],
        logs[2 * inside + 1 : len(logs) - inside],
    )
    if not len(low):
        return None
    width, at = (high - low).max(0)
    return 10 ** float((low[at] + high[at]) / 2) if width >= GAP else None


def ffn_norms(sets: list[GroupSet]) -> Tensor:
    """Norms that decide whether feed-forward units are dead [units].

    The norm of a unit is the smaller root mean square of its row of W1 and its column of W2.
    """
    by_matrix = {matrix: torch.cat([each.rms() for each in sets if each.matrix == matrix]) for matrix in _FFN}
    return torch.minimum(by_matrix["fc1"], by_matrix["fc2"])


def smallest(norms: Tensor, percent: float) -> float:
    """The cut below which `percent` of the `norms` lie.

    With `ffn_norms`, the cut at which that percentage of the units is dead.
    """
    ordered = norms.detach().double().sort().values
    count = round(len(ordered) * percent / 100)
    if count in (0, len(ordered)):
        return 0.0 if count == 0 else float(ordered[-1]) * 2
    return float((ordered[count - 1] * ordered[count]).sqrt())


def _block(sub_layer: SubLayer, axis: int, kind: str, head_dim: int, weight: Tensor) -> tuple[int, int]:
    """Rows and columns of one group."""
    if kind == "blocks8":
        return BLOCK, BLOCK
    units = head_dim if kind == "ffn+heads" and sub_layer.component != "ffn" else 1
    return (units, weight.shape[1]) if axis == 0 else (weight.shape[0], units)


def _extents(length: int, step: int, device: torch.device) -> Tensor:
    """Lengths of the blocks of `step` that make up `length`, the last one possibly shorter [blocks]."""
    extents = torch.full((-(-length // step),), float(step), device=device)
    extents[-1] = (length - 1) % step + 1
    return extents
