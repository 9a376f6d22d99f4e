"""The classifiers of probing tasks: one hidden layer of sigmoid units with dropout.

They follow SentEval (Conneau et al. 2018, section 4). All sizes and dropout rates of the grid are
trained side by side in one batched product; they share nothing, so each learns what it would learn
alone. Training uses Adam in batches. A classifier is done once its development accuracy has not risen
for PATIENCE epochs, and is taken at its highest accuracy; training ends when all are done, or after
MOST_EPOCHS or MOST_EXAMPLES.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BATCH = 64
# The learning rate is 0.01 for vectors of width 64, and SentEval's 0.001 for vectors of width 640.
RATE_TIMES_WIDTH = 0.64
PATIENCE, MOST_EPOCHS = 5, 200
MOST_EXAMPLES = 3_000_000  # over all epochs: 30 epochs of SentEval's 100,000 training sentences


@dataclass(frozen=True)
class Features:
    """Vectors [examples, d] and their labels [examples], counted from 0."""

    vectors: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Classified:
    """The classifier with the highest development accuracy, and its predictions [test examples]."""

    hidden: int
    dropout: float
    dev_accuracy: float
    predictions: Tensor


def classify(
    train: Features, dev: Features, test: Tensor, hidden: Sequence[int], dropout: Sequence[float], seed: int
) -> Classified:
    """Train the grid on `train`, choose a classifier on `dev`, and predict labels for `test` [examples, d].

    Vectors are standardised by the means and deviations of `train`. Among equally good classifiers, the
    first one in the order of `hidden` and `dropout` is chosen.
    """
    grid = list(itertools.product(hidden, dropout))
    draw = torch.Generator().manual_seed(seed)
    mean, deviation = train.vectors.mean(0), train.vectors.std(0).clamp_min(1e-6)
    scaled, scaled_dev, scaled_test = (
        (vectors - mean) / deviation for vectors in (train.vectors, dev.vectors, test)
    )
    labels = 1 + int(max(train.labels.max(), dev.labels.max()))
    network = _Grid(grid, train.vectors.shape[1], labels, draw)
    optimizer = torch.optim.Adam(network.parameters, lr=RATE_TIMES_WIDTH / train.vectors.shape[1])
    best = torch.full([len(grid)], -1.0)
    predictions = torch.zeros(len(grid), len(test), dtype=torch.long)
    waited = torch.zeros(len(grid), dtype=torch.long)
    for _ in range(max(1, min(MOST_EPOCHS, MOST_EXAMPLES // len(scaled)))):
        for batch in torch.randperm(len(scaled), generator=draw).split(BATCH):
            optimizer.zero_grad()
            network.loss(scaled[batch], train.labels[batch]).backward()
            optimizer.step()
        accuracies = (network.predict(scaled_dev) == dev.labels).float().mean(1)
        better = (accuracies > best) & (waited < PATIENCE)
        waited = torch.where(better, 0, waited + 1)
        if (waited >= PATIENCE).all():
            break
        if better.any():
            best = torch.where(better, accuracies, best)
            predictions = torch.where(better.unsqueeze(1), network.predict(scaled_test), predictions)
    first_best = int(best.argmax())
    return Classified(*grid[first_best], float(best[first_best]), predictions[first_best])


class _Grid:
    """Classifiers side by side; smaller ones are padded with hidden units that are always 0."""

    def __init__(
        self, grid: Sequence[tuple[int, float]], width: int, labels: int, draw: torch.Generator
    ) -> None:
        self._draw = draw
        sizes = torch.tensor([size for size, _ in grid])
        units = int(sizes.max())
        self._exists = (torch.arange(units) < sizes.unsqueeze(1)).float().unsqueeze(1)
        self._kept = 1 - torch.tensor([rate for _, rate in grid]).view(-1, 1, 1)
        outward = (1 / sizes.float().sqrt()).view(-1, 1, 1)
        self.parameters = [
            self._uniform(1 / math.sqrt(width), len(grid), width, units),
            self._uniform(1 / math.sqrt(width), len(grid), 1, units),
            self._uniform(outward, len(grid), units, labels),
            self._uniform(outward, len(grid), 1, labels),
        ]

    def _uniform(self, bound: float | Tensor, *shape: int) -> Tensor:
        return ((2 * torch.rand(shape, generator=self._draw) - 1) * bound).requires_grad_()

    def _logits(self, vectors: Tensor, training: bool) -> Tensor:
        """Logits [classifiers, examples, labels] of vectors [examples, d]."""
        inward, inward_bias, outward, outward_bias = self.parameters
        units = torch.sigmoid(torch.matmul(vectors, inward) + inward_bias) * self._exists
        if training and (self._kept < 1).any():
            units = units * (torch.rand(units.shape, generator=self._draw) < self._kept) / self._kept
        return torch.baddbmm(outward_bias, units, outward)

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Sum over classifiers of the mean cross-entropy."""
        logits = self._logits(vectors, training=True)
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.repeat(len(logits)), reduction="sum"
        ) / len(labels)

    @torch.no_grad()
    def predict(self, vectors: Tensor) -> Tensor:
        """Predicted labels [classifiers, examples]."""
        return self._logits(vectors, training=False).argmax(-1)
