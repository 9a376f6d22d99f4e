"""Weights and masks on disk."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmtprune.experiment import chain, paths
from nmtprune.foundation.errors import UserError
from nmtprune.store import checkpoints


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=4),
    st.integers(0, 2**31),
)
def test_masks_are_read_as_they_were_written(tmp_path_factory, shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for number, (rows, columns, depth) in enumerate(shapes):
        shape = (rows, columns, depth) if depth else (rows, columns)
        made[f"matrix {number}"] = torch.rand(shape, generator=generator) < 0.5
    file = tmp_path_factory.mktemp("masks") / "mask.pt"
    checkpoints.save_masks(made, file)
    read = checkpoints.read_masks(file)
    assert list(read) == list(made)
    assert all(torch.equal(read[name], made[name]) and read[name].dtype == torch.bool for name in made)


def test_a_mask_takes_a_bit_a_weight(tmp_path):
    checkpoints.save_masks({"w": torch.ones(1000, 800, dtype=torch.bool)}, tmp_path / "mask.pt")
    assert 100_000 <= (tmp_path / "mask.pt").stat().st_size < 105_000


def test_masking_keeps_ties_and_leaves_the_rest_alone():
    shared, other, empty = torch.full((2, 3), 2.0), torch.ones(2, 2), torch.empty(0)
    state = {
        "encoder.embed": shared,
        "decoder.embed": shared,
        "other": other,
        "empty": empty,
        "empty too": torch.empty(0),
    }
    mask = torch.tensor([[True, False, True], [False, True, True]])
    masked = checkpoints.masked(state, {"encoder.embed": mask})
    assert masked["encoder.embed"].tolist() == [[2, 0, 2], [0, 2, 2]]
    assert masked["decoder.embed"] is masked["encoder.embed"]
    assert masked["other"] is other and masked["empty"] is empty
    assert shared.tolist() == [[2, 2, 2], [2, 2, 2]]
    assert checkpoints.masked(state, None) == state


def test_masks_hold_until_the_model_is_dense_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = "toy/toy/s1/train/prune-local-50"
    checkpoints.save_masks({"w": torch.tensor([[True, False]])}, paths.model(chain.parse(root)) / paths.MASK)
    for steps in ("", "/retrain", "/retrain/at-50", "/restart"):
        assert checkpoints.masks_of(chain.parse(root + steps))["w"].tolist() == [[True, False]]
    for steps in ("/rejuvenate-zero", "/rejuvenate-zero/at-50", "/rejuvenate-zero/continue"):
        assert checkpoints.masks_of(chain.parse(root + steps)) is None
    assert checkpoints.masks_of(chain.parse("toy/toy/s1/train")) is None


def test_the_checkpoint_of_a_pruned_model_is_that_of_the_model_it_selects_from():
    for steps, made in {
        "train/prune-local-50": "train",
        "train/prune-local-50/prune-local-60": "train",
        "train/prune-local-50/retrain": "train/prune-local-50/retrain",
        "train/at-50/prune-local-50": "train/at-50",
    }.items():
        assert (
            paths.checkpoint_of(chain.parse(f"toy/toy/s1/{steps}"))
            == paths.RESULTS / "models/toy/toy/s1" / made / "model.pt"
        )


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_files_that_are_no_checkpoints(tmp_path, content):
    file = tmp_path / "model.pt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.pt is not a whole PyTorch file") as error:
        checkpoints.read(file)
    assert len(str(error.value).splitlines()) == 1
    assert file.read_bytes() == content


def test_a_truncated_checkpoint(tmp_path):
    checkpoints.save({"model": {"w": torch.ones(100, 100)}}, tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    for length in (len(whole) // 3, len(whole) - 10):
        (tmp_path / "model.pt").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"truncated\?"):
            checkpoints.read(tmp_path / "model.pt")


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*model\.pt"):
        checkpoints.read(tmp_path / "model.pt")
