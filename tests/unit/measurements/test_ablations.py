"""Curves of BLEU against the number of ablated components."""

import pandas as pd
import pytest

from nmtprune.measurements.ablations import curves, spared
from nmtprune.store.ablation_order import ITERATIVE


def line(seed, *bleu):
    places = range(len(bleu))
    return pd.DataFrame(
        {"row": 1, "seed": seed, "method": ITERATIVE, "number": places, "test_bleu": bleu, "dev_bleu": bleu}
    )


def test_curves_are_means_over_seeds_up_to_what_all_seeds_have():
    numbers = pd.concat([line(1, 30.0, 28.0, 20.0), line(2, 32.0, 29.0)], ignore_index=True)
    ((method, curve),) = curves(numbers, 1)
    assert method == ITERATIVE and curve["test_bleu"].tolist() == [31.0, 28.5]
    assert curve["test_bleu_sd"].tolist() == pytest.approx([2**0.5, 0.5**0.5])
    assert list(curves(numbers, 2)) == []


@pytest.mark.parametrize(
    ("bleu", "epsilon", "count"),
    [
        ([30.0, 29.9, 29.6, 29.0], 0.5, 2),
        ([30.0, 29.4], 0.5, 0),
        ([30.0, 30.1], 0.5, None),
        ([30.0, 29.0, 30.0], 0.5, 0),
    ],
)
def test_components_are_spared_until_epsilon_is_lost_for_the_first_time(bleu, epsilon, count):
    assert spared(pd.Series(bleu), epsilon) == count
