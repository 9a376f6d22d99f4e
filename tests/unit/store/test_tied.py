"""What is tied is replaced together."""

import torch

from nmtprune.store.tied import replaced


def test_tied_tensors_are_replaced_together_and_all_else_stays():
    shared, alone, empty = torch.ones(2, 3), torch.ones(2), torch.empty(0, 3)
    weights = {"encoder": shared, "decoder": shared, "bias": alone, "gone": empty, "lost": torch.empty(0)}
    other = torch.zeros(2, 3)
    made = replaced(weights, {"encoder": other})
    assert made["encoder"] is other and made["decoder"] is other
    assert all(made[name] is weights[name] for name in ("bias", "gone", "lost")) and [*made] == [*weights]


def test_an_empty_tensor_takes_no_other_with_it():
    weights = {"gone": torch.empty(0, 3), "lost": torch.empty(0)}
    made = replaced(weights, {"gone": torch.empty(0, 5)})
    assert made["lost"] is weights["lost"]
