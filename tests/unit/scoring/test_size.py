"""Sizes by arithmetic, and sparse storage that loses nothing."""

from __future__ import annotations

import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nmtprune.foundation.errors import UserError
from nmtprune.pruning.classes import prunable
from nmtprune.pruning.schemes import masks
from nmtprune.scoring.size import load_sparse, sizes, sparsity, store_sparse, stored_size, unique_parameters
from nmtprune.store import checkpoints


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.reshape(-1).view(torch.int32).tolist()


def state(density: float = 1.0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    embedding = torch.randn(50, 8)
    matrix = torch.randn(8, 16) * (torch.rand(8, 16) < density)
    return {
        "encoder.embed_tokens.weight": embedding,
        "encoder.embed_positions._float_tensor": torch.zeros(1),
        "encoder.layers.0.fc1.weight": matrix,
        "encoder.layers.0.fc1.bias": torch.zeros(16),
        "encoder.layers.0.layer_norm.weight": torch.ones(16),
        "encoder.layers.1.layer_norm.weight": torch.ones(16),
        "decoder.embed_tokens.weight": embedding,
        "decoder.output_projection.weight": embedding.clone(),
    }


def test_tied_parameters_count_once_and_equal_constants_separately():
    counted = sizes(state())
    assert counted["parameters"] == 50 * 8 + 8 * 16 + 16 + 16 + 16
    assert counted["nonzero"] == 50 * 8 + 8 * 16 + 16 + 16
    assert counted["size_dense"] == 4 * counted["parameters"]
    assert "decoder.output_projection.weight" not in unique_parameters(state())


def test_sparsity_is_of_the_prunable_weights_alone():
    given_state = state()
    given_state["encoder.layers.0.fc1.weight"].view(-1)[:32] = 0
    assert sparsity(given_state, ["encoder.layers.0.fc1.weight"]) == (128, 0.25)
    names = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "encoder.layers.0.fc1.weight"]
    assert sparsity(given_state, names) == (528, pytest.approx(32 / 528))
    with pytest.raises(UserError, match="`nonsense` is not in the model"):
        sparsity(given_state, ["nonsense"])


def test_a_sparse_model_is_stored_in_little_more_than_its_values_and_a_bit_a_weight(tmp_path):
    torch.manual_seed(1)
    weights = {"w": torch.randn(400, 500).masked_fill(torch.rand(400, 500) < 0.9, 0.0)}
    written = store_sparse(weights, tmp_path / "model")
    assert written == (tmp_path / "model").stat().st_size == sizes(weights)["size_sparse"]
    nonzero = sizes(weights)["nonzero"]
    # The entropy of a mask with 10 % ones is 0.469 bits a weight.
    assert nonzero * 4 + 0.46 * 200_000 / 8 < written < nonzero * 4 + 200_000 / 8


def test_a_pruned_model_is_stored_as_bits_and_values_and_loads_back_as_it_was(tmp_path):
    """Besides headers, the file has a compressed bit for each weight and four bytes for each value.

    Parameters are tied, untied and unpruned.
    """
    model = state()
    model["decoder.layers.0.fc1.weight"] = torch.randn(300, 20).t()  # not contiguous
    made = masks(prunable(model, "in"), "global", "80")
    pruned = checkpoints.masked(model, made)
    written = store_sparse(pruned, tmp_path / "model")
    loaded = load_sparse(tmp_path / "model")
    assert written == (tmp_path / "model").stat().st_size == sizes(pruned)["size_sparse"]
    assert set(loaded) == {name for name in model if "_float_tensor" not in name}
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32 and bits(tensor) == bits(pruned[name]), name
    assert all(not loaded[name][~mask].any() for name, mask in made.items())
    of_masks = of_values = 0
    with open(tmp_path / "model", "rb") as file:
        file.readline()
        for line in iter(file.readline, b""):
            record = {"mask": 0, "values": 0, **json.loads(line)}
            of_masks, of_values = of_masks + record["mask"], of_values + record["values"]
            file.seek(record["mask"] + 4 * record["values"], os.SEEK_CUR)
    assert of_values == sizes(pruned)["nonzero"]
    assert 0 < of_masks < sizes(pruned)["parameters"] / 8 + 16 * len(loaded)


def test_tied_parameters_share_memory_again(tmp_path):
    store_sparse(state(), tmp_path / "model")
    loaded = load_sparse(tmp_path / "model")
    assert "encoder.embed_positions._float_tensor" not in loaded
    assert (
        loaded["decoder.output_projection.weight"].data_ptr()
        == loaded["encoder.embed_tokens.weight"].data_ptr()
    )
    for name, tensor in loaded.items():
        assert torch.equal(tensor, state()[name])


@given(
    arrays.arrays(
        "float32",
        arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9),
        elements=st.one_of(st.sampled_from([0.0, -0.0, 1e-45]), st.floats(width=32, allow_nan=False)),
    )
)
def test_what_is_loaded_equals_what_was_stored_to_the_last_bit(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("sparse") / "model"
    tensor = torch.from_numpy(array)
    store_sparse({"w": tensor}, path)
    loaded = load_sparse(path)["w"]
    assert loaded.shape == tensor.shape
    assert bits(loaded) == bits(tensor)


def test_a_truncated_file_is_one_clear_sentence(tmp_path):
    path = tmp_path / "model"
    store_sparse(state(), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="truncated or damaged"):
        load_sparse(path)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="not a sparse model"):
        load_sparse(path)


def test_what_a_sparse_model_takes_on_disk_is_found_by_storing_and_reading_it(tmp_path):
    pruned = {"w": torch.randn(50, 20).masked_fill(torch.rand(50, 20) < 0.8, 0.0), "b": torch.randn(20)}
    assert stored_size(pruned, tmp_path / "model") == sizes(pruned)["size_sparse"]
    assert list(tmp_path.iterdir()) == []
