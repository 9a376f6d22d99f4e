"""PyTorch's LSTM, trained on a CPU with few steps over padding and cheap dropout.

Its kernels (oneDNN's) come close to the speed of plain matrix products there, but take padding for input and
draw dropout slowly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq.modules import FairseqDropout
from torch import Tensor, nn
from torch.nn import functional

SEGMENT = 100  # steps of one sentence that take as long as the overhead of one more call of the layers


class StackedLstm(nn.LSTM):
    """`nn.LSTM` of `layers` layers of width n without biases, batch first, with `dropout` between layers.

    Parameters and results are those of `nn.LSTM`; on a CPU the draws of dropout are others for the same seed.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__(
            width, width, layers, bias=False, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.between_layers = FairseqDropout(dropout, module_name=type(self).__name__)

    def forward(
        self, inputs: Tensor, before: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read `inputs` [sentences, length, n] from the states and cells `before` [layers, sentences, n],
        zero by default.

        Returns the top layer's states [sentences, length, n], and the final states and cells [layers,
        sentences, n].
        """
        if inputs.is_cuda or not self.training:
            return super().forward(inputs, before)
        if before is None:
            before = (inputs.new_zeros(self.num_layers, len(inputs), self.hidden_size),) * 2
        states, (hidden, cell), final = inputs, before, []
        for layer, weights in enumerate(self.all_weights):
            states = self.between_layers(states) if layer else states
            first = hidden[layer, None], cell[layer, None]
            states, *last = torch.lstm(
                states, first, weights, self.bias, 1, 0.0, self.training, self.bidirectional, self.batch_first
            )
            final.append(last)
        hidden, cell = map(torch.cat, zip(*final, strict=True))
        return states, (hidden, cell)

    def without_padding(self, inputs: Tensor, before: tuple[Tensor, Tensor], lengths: Tensor) -> Tensor:
        """The top layer's states [sentences, length, n], as `forward` returns them at the first `lengths`
        [sentences] positions.

        Each segment of the steps is read by the sentences alone that have not ended before it. Past a
        sentence's end states are arbitrary but finite.
        """
        lengths, order = lengths.sort(descending=True)
        inputs, (hidden, cell) = inputs[order], (tensor[:, order] for tensor in before)
        segments = []
        for start, stop, reading in segments_of(lengths.tolist()):
            states, (hidden, cell) = self(
                inputs[:reading, start:stop], (hidden[:, :reading], cell[:, :reading])
            )
            segments.append(functional.pad(states, (0, 0, 0, 0, 0, len(inputs) - reading)))
        return torch.cat(segments, dim=1)[order.argsort()]


def segments_of(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Start, stop and number of sentences of the segments that cost least; `lengths`: the sentences' in
    steps, longest first.

    A segment costs a step for each of its steps and sentences, ended or not, and SEGMENT for itself.
    """
    reading = [sum(length > step for length in lengths) for step in range(lengths[0])]
    cheapest, starts = [0], []
    for stop in range(1, len(reading) + 1):
        cost, start = min(
            (cheapest[start] + reading[start] * (stop - start) + SEGMENT, start) for start in range(stop)
        )
        cheapest.append(cost)
        starts.append(start)
    stop, segments = len(reading), []
    while stop:
        start = starts[stop - 1]
        segments.append((start, stop, reading[start]))
        stop = start
    return reversed(segments)
