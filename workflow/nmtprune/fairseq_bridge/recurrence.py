"""PyTorch's LSTM, trained on a CPU with little padding and fast dropout.

On a CPU, PyTorch's kernels (oneDNN's) are nearly as fast as plain matrix products, but they process
padding like input and draw dropout slowly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq.modules import FairseqDropout
from torch import Tensor, nn
from torch.nn import functional

SEGMENT = 100  # overhead of one more call of the layers, in steps of one sentence


class StackedLstm(nn.LSTM):
    """`nn.LSTM` of `layers` layers of width n, without biases, batch first, with `dropout` between layers.

    Parameters and results are those of `nn.LSTM`, except that dropout on a CPU draws other random
    numbers.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__(
            width, width, layers, bias=False, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.between_layers = FairseqDropout(dropout, module_name=type(self).__name__)

    def forward(
        self, inputs: Tensor, before: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read `inputs` [sentences, length, n], starting from hidden and cell states `before`.

        `before`: two tensors [layers, sentences, n], zeros by default. Returns the top layer's states
        [sentences, length, n], and the final hidden and cell states [layers, sentences, n].
        """
        if inputs.is_cuda or not self.training:
            return super().forward(inputs, before)
        if before is None:
            zeros = inputs.new_zeros(self.num_layers, len(inputs), self.hidden_size)
            before = zeros, zeros
        states, (hidden, cell), final = inputs, before, []
        for layer, weights in enumerate(self.all_weights):
            states = self.between_layers(states) if layer else states
            first = hidden[layer, None], cell[layer, None]
            states, *last = torch.lstm(
                states,
                first,
                [*weights],
                self.bias,
                1,
                0.0,
                self.training,
                self.bidirectional,
                self.batch_first,
            )
            final.append(last)
        hidden, cell = map(torch.cat, zip(*final, strict=True))
        return states, (hidden, cell)

    def without_padding(self, inputs: Tensor, before: tuple[Tensor, Tensor], lengths: Tensor) -> Tensor:
        """The top layer's states [sentences, length, n], with arbitrary finite values at padding.

        `lengths`: [sentences]. The steps are split into segments, and each segment is computed only for
        the sentences that have not ended before it.
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
    """The cheapest segments of the steps, each as its start, its stop and its number of sentences.

    `lengths`: lengths of the sentences in steps, the longest first. The cost of a segment is SEGMENT,
    plus one for each of its steps and sentences, including sentences that have ended.
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
