"""What histories of trainings say of widths."""

import pandas as pd
import pytest

from nmtprune.measurements.histories import removed_by_half


@pytest.mark.parametrize(
    ("sparsity", "share"),
    [([0.0, 30.0, 40.0], 75), ([0.0, 10.0, 40.0], 25), ([0.0, 0.0, 0.0], None)],
)
def test_the_share_that_half_of_the_updates_remove(sparsity, share):
    history = pd.DataFrame({"update": [0, 50, 100], "ffn_sparsity": sparsity})
    assert removed_by_half(history) == share


def test_half_of_the_updates_may_lie_between_validations():
    history = pd.DataFrame({"update": [0, 40, 100], "ffn_sparsity": [0.0, 40.0, 100.0]})
    assert removed_by_half(history) == pytest.approx(50)


def test_a_training_without_a_lasso_removes_nothing():
    assert removed_by_half(pd.DataFrame({"update": [0, 50]})) is None
