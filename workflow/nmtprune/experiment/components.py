"""Components of a Transformer, its residual sub-layers (Wang and Tu 2020, section 2), by name. Needs no
PyTorch.

A component is called as in `E.SA.1`: encoder (E) or decoder (D), self-attention (SA), encoder-attention (EA)
or feed-forward (FF), and the layer, counted from 1 at the bottom. The paper prints its kind as `E:SA`. An
SSRU in the place of decoder self-attention is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from nmtprune.experiment.shapes import Shape
from nmtprune.foundation.errors import UserError

# kind -> side and part of a layer, in the order of the paper's maps
KINDS = {
    "E.SA": ("encoder", "self"),
    "E.FF": ("encoder", "ffn"),
    "D.SA": ("decoder", "self"),
    "D.EA": ("decoder", "cross"),
    "D.FF": ("decoder", "ffn"),
}
_NAME = re.compile(rf"({'|'.join(map(re.escape, KINDS))})\.([1-9]\d*)")


class Component(NamedTuple):
    """A residual sub-layer: its kind, as `E.SA`, and its layer, counted from 1."""

    kind: str
    layer: int

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"


def read_component(text: str) -> Component:
    """Read `D.SA.3`. Raises ValueError."""
    found = _NAME.fullmatch(text)
    if not found:
        raise ValueError(
            f"`{text}` is not a component; write it as D.SA.1: one of {', '.join(KINDS)}, and the layer, "
            "counted from 1"
        )
    return Component(found[1], int(found[2]))


def of_shape(shape: Shape) -> list[Component]:
    """The components of a Transformer of this shape, in the order of `components_of`."""
    return [
        Component(kind, number)
        for kind, (side, part) in KINDS.items()
        for number, layer in enumerate(shape[side], 1)
        if part in layer
    ]


def without(shape: Shape, dropped: Iterable[Component]) -> Shape:
    """A shape that lacks components altogether; a layer that has lost all of its own is none any more.

    Raises UserError where one side has nothing left.
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
            raise UserError(f"nothing is left of the {side} without {', '.join(sorted(map(str, dropped)))}")
    return left
