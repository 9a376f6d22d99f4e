"""Names of a Transformer's components, its residual sub-layers (Wang and Tu 2020, section 2).

A component has a name such as `E.SA.1`: encoder (E) or decoder (D), self-attention (SA),
encoder-attention (EA) or feed-forward (FF), and the layer, counted from 1 at the bottom. The paper
prints its kind as `E:SA`. An SSRU in place of the decoder's self-attention is not a component. No
PyTorch is needed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from nmtprune.experiment.shapes import Shape
from nmtprune.foundation.errors import UserError

# For each kind its side and part of a layer, in the order of the paper's maps.
KINDS = {
    "E.SA": ("encoder", "self"),
    "E.FF": ("encoder", "ffn"),
    "D.SA": ("decoder", "self"),
    "D.EA": ("decoder", "cross"),
    "D.FF": ("decoder", "ffn"),
}
_NAME = re.compile(rf"({'|'.join(map(re.escape, KINDS))})\.([1-9]\d*)")


class Component(NamedTuple):
    """A residual sub-layer: its kind, such as `E.SA`, and its layer, counted from 1."""

    kind: str
    layer: int

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"


def read_component(text: str) -> Component:
    """Read a name such as `D.SA.3`; raises ValueError if it is not valid."""
    parts = _NAME.fullmatch(text)
    if not parts:
        raise ValueError(
            f"`{text}` is not a component; write it as D.SA.1: one of {', '.join(KINDS)}, and the layer, "
            "counted from 1"
        )
    return Component(parts[1], int(parts[2]))


def of_shape(shape: Shape) -> list[Component]:
    """The components of a Transformer of this shape, in the order of `components_of`.

    A sub-layer without units or heads is none.
    """
    return [
        Component(kind, number)
        for kind, (side, part) in KINDS.items()
        for number, layer in enumerate(shape[side], 1)
        if layer.get(part)
    ]


def without(shape: Shape, dropped: Iterable[Component]) -> Shape:
    """The shape without the given components; a layer that has lost all of its components is removed.

    Raises UserError if nothing is left of one side.
    """
    gone = {(*KINDS[each.kind], each.layer) for each in dropped}
    left: Shape = {}
    for side, layers in shape.items():
        kept = [
            {part: width for part, width in layer.items() if (side, part, number) not in gone}
            for number, layer in enumerate(layers, 1)
        ]
        left[side] = list(filter(None, kept))
        if not left[side]:
            raise nothing_left(side, dropped)
    return left


def nothing_left(side: str, gone: Iterable[Component]) -> UserError:
    """The error where a side without these components has none."""
    return UserError(f"nothing is left of the {side} without {', '.join(sorted(map(str, gone)))}")
