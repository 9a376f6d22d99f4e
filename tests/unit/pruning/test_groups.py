"""Groups of group lasso: their weights, their norms, and which of them are dead."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nmtprune.experiment.step_kinds import GROUPS
from nmtprune.pruning import groups as g
from nmtprune.pruning.groups import GroupSet, SubLayer, groups

D, FFN, HEADS, HEAD_DIM = 8, 20, 4, 2
FC1 = SubLayer("encoder", 0, "ffn")


def state_of(encoder=2, decoder=2, tied=False, std=0.5, ffn=FFN, d=D, heads=HEADS):
    """Random feed-forward and attention parameters of a Transformer with SSRU-like decoders."""
    state = {}

    def linear(name, rows, columns):
        state[f"{name}.weight"], state[f"{name}.bias"] = (
            torch.randn(rows, columns) * std,
            torch.randn(rows) * std,
        )

    for side, layers, attentions in (
        ("encoder", encoder, ["self_attn"]),
        ("decoder", decoder, ["encoder_attn"]),
    ):
        for layer in range(layers):
            prefix = f"{side}.layers.{layer}."
            linear(prefix + "fc1", ffn, d)
            linear(prefix + "fc2", d, ffn)
            for attention in attentions:
                for matrix in ("q_proj", "k_proj", "v_proj"):
                    linear(f"{prefix}{attention}.{matrix}", heads * HEAD_DIM, d)
                linear(f"{prefix}{attention}.out_proj", d, heads * HEAD_DIM)
        if side == "decoder":
            state["decoder.layers.0.ssru.forget_proj.weight"] = torch.randn(d, d)
    if tied:
        for name in [name for name in state if name.startswith("decoder.layers.1.")]:
            state[name] = state[name.replace("layers.1.", "layers.0.")]
    return state


@pytest.mark.parametrize(
    ("kind", "where", "sets", "count"),
    [
        ("ffn", "both", 8, 4 * 2 * FFN),
        ("ffn", "enc", 4, 2 * 2 * FFN),
        ("ffn+att", "dec", 12, 2 * (2 * FFN + 4 * HEADS * HEAD_DIM)),
        ("ffn+heads", "both", 24, 4 * (2 * FFN + 4 * HEADS)),
        ("blocks8", "enc", 4, 2 * 2 * 3),  # 20 x 8: two blocks and a ragged one
    ],
)
def test_every_kind_has_its_groups(kind, where, sets, count):
    found = groups(state_of(), kind, where, HEAD_DIM)
    assert (len(found), sum(len(each.norms()) for each in found)) == (sets, count)
    assert all(len(each.sizes) == len(each.norms()) == len(each.sums()) for each in found)


@pytest.mark.parametrize("kind", ["ffn+att", "ffn+heads"])
def test_every_weight_and_bias_of_a_unit_lies_in_one_group_and_the_output_bias_in_none(kind):
    state = state_of()
    found = groups(state, kind, "both", HEAD_DIM)
    grouped = [
        t
        for name, t in state.items()
        if "ssru" not in name and not name.endswith(("fc2.bias", "out_proj.bias"))
    ]
    assert sum(float(each.sizes.sum()) for each in found) == sum(t.numel() for t in grouped)
    squares = sum(float((each.norms() ** 2).sum()) for each in found)
    assert squares == pytest.approx(sum(float((t**2).sum()) for t in grouped), rel=1e-5)


def test_tied_layers_count_once_as_tensors_and_as_parameters():
    state = state_of(tied=True)
    assert {each.sub_layer.layer for each in groups(state, "ffn+att", "dec", HEAD_DIM)} == {0}
    shared = {}
    parameters = {name: shared.setdefault(id(tensor), nn.Parameter(tensor)) for name, tensor in state.items()}
    assert len(groups(parameters, "ffn", "dec", HEAD_DIM)) == 2


def test_norms_are_those_of_rows_columns_heads_and_ragged_blocks():
    state = state_of()
    by_matrix = {(each.sub_layer, each.matrix): each for each in groups(state, "ffn+heads", "enc", HEAD_DIM)}
    w1, b1 = state["encoder.layers.0.fc1.weight"], state["encoder.layers.0.fc1.bias"]
    torch.testing.assert_close(by_matrix[FC1, "fc1"].norms()[3], torch.cat([w1[3], b1[3:4]]).norm())
    torch.testing.assert_close(by_matrix[FC1, "fc1"].sums()[3], w1[3].abs().sum() + b1[3].abs())
    torch.testing.assert_close(
        by_matrix[FC1, "fc2"].norms(), state["encoder.layers.0.fc2.weight"].norm(dim=0)
    )
    attention = SubLayer("encoder", 1, "self")
    q, bias = (
        state["encoder.layers.1.self_attn.q_proj.weight"],
        state["encoder.layers.1.self_attn.q_proj.bias"],
    )
    torch.testing.assert_close(
        by_matrix[attention, "q_proj"].norms()[2], torch.cat([q[4:6].flatten(), bias[4:6]]).norm()
    )
    out = state["encoder.layers.1.self_attn.out_proj.weight"]
    torch.testing.assert_close(by_matrix[attention, "out_proj"].norms()[1], out[:, 2:4].norm())
    blocks = groups(state, "blocks8", "enc", HEAD_DIM)[0]
    torch.testing.assert_close(blocks.norms()[2], w1[16:].norm())
    assert blocks.sizes.tolist() == [64, 64, 32]


def test_a_unit_of_a_block_matrix_is_dead_when_all_its_blocks_are():
    weight = torch.ones(20, 12)
    blocks = GroupSet(FC1, "fc1", 0, (8, 8), weight)
    dead = torch.tensor([[True, True], [True, False], [False, False]])
    assert blocks.dead_units(dead.flatten()).tolist() == [True] * 8 + [False] * 12
    weight[9, 8:] = 0
    assert blocks.dead_units(dead.flatten()).nonzero().flatten().tolist() == [*range(8), 9]


def test_the_threshold_is_on_the_sum_of_absolute_values():
    weight = torch.full((3, 10), 0.9e-6)
    weight[1] *= 2
    rows = GroupSet(FC1, "fc1", 0, (1, 10), weight, torch.zeros(3))
    assert g.by_threshold([rows])[0].tolist() == [True, False, True]
    assert g.by_threshold([rows], threshold=2e-5)[0].all()


def two_peaks(dead, alive, floor=1e-4, spread=0.15):
    return torch.cat([floor * 10 ** (torch.randn(dead) * spread), 0.05 * 10 ** (torch.randn(alive) * spread)])


@settings(max_examples=40, deadline=None)
@given(st.integers(50, 3000), st.integers(50, 3000), st.integers(0, 10**6), st.floats(1e-5, 5e-4))
def test_the_gap_separates_two_peaks_of_any_sizes(dead, alive, seed, floor):
    torch.manual_seed(seed)
    rms = two_peaks(dead, alive, floor)
    assert (rms < g.gap(rms)).tolist() == [True] * dead + [False] * alive


def test_stragglers_between_the_peaks_do_not_hide_the_gap():
    torch.manual_seed(1)
    rms = torch.cat([two_peaks(4000, 4000), torch.logspace(-3.8, -1.5, 60)])
    cut = g.gap(rms)
    assert 3e-4 < cut < 2e-2
    assert abs(int((rms < cut).sum()) - 4030) <= 30


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.02, 0.1, 0.3, 0.5]), st.integers(4, 6000))
def test_one_peak_has_no_gap(seed, spread, count):
    torch.manual_seed(seed)
    rms = 0.05 * 10 ** (torch.randn(max(count, 100 if spread > 0.1 else 4)) * spread)
    assert g.gap(rms) is None


def test_a_single_outlier_among_many_groups_is_no_second_peak():
    torch.manual_seed(1)
    rms = 0.05 * 10 ** (torch.randn(1000) * 0.1)
    rms[0] = 1e-6
    assert g.gap(rms) is None
    assert g.gap(torch.zeros(10)) is None
    assert g.gap(torch.tensor([])) is None


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_a_freshly_initialised_model_loses_nothing(kind, bias):
    torch.manual_seed(2)
    state = {
        name: t * bias if name.endswith("bias") else t
        for name, t in state_of(d=32, ffn=64, heads=8, std=0.06).items()
    }
    sets, cuts = groups(state, kind, "both", HEAD_DIM), g.gap_cuts(state, kind, "both", HEAD_DIM)
    assert set(cuts.values()) == {None}
    for dead in (g.by_threshold(sets), g.by_cut(sets, cuts)):
        assert not any(marks.any() for marks in dead)


def test_the_gap_rule_finds_each_matrix_its_own_cut():
    torch.manual_seed(3)
    state = state_of(d=32, ffn=64)
    state["encoder.layers.0.fc1.weight"][:10] *= 1e-3
    state["encoder.layers.0.fc1.bias"][:10] *= 1e-3
    sets = groups(state, "ffn", "both", HEAD_DIM)
    cuts = g.gap_cuts(state, "ffn", "both", HEAD_DIM)
    assert 1e-3 < cuts["fc1"] < 0.5
    assert [int(dead.sum()) for dead in g.by_cut(sets, cuts)] == [10] + [0] * 7


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("living", [0, 1])
def test_where_next_to_nothing_is_left_of_a_matrix_the_rest_of_the_model_tells(kind, living):
    torch.manual_seed(5)
    state = state_of(d=32, ffn=64, heads=8)
    for name in state:
        if name.startswith("encoder.layers") and ("fc" in name or "attn" in name) and "norm" not in name:
            keep = living if name.endswith("0.fc1.weight") or name.endswith("0.fc1.bias") else 0
            state[name] = torch.cat([state[name][:keep], state[name][keep:] * 1e-4])
    cuts = g.gap_cuts(state, kind, "enc", HEAD_DIM)
    dead = g.by_cut(groups(state, kind, "enc", HEAD_DIM), cuts)
    assert sum(int((~marks).sum()) for marks in dead) == (living if kind != "blocks8" else 4 * living)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), st.integers(1, 400), st.integers(0, 10**6))
def test_the_cut_of_the_smallest_takes_their_share(percent, count, seed):
    torch.manual_seed(seed)
    norms = torch.rand(count, dtype=torch.float64) + 0.1
    assert int((norms < g.smallest(norms, percent)).sum()) == round(count * percent / 100)


def test_a_share_of_the_units_is_dead_at_its_cut():
    torch.manual_seed(4)
    sets = groups(state_of(), "ffn", "both", HEAD_DIM)
    cut = g.smallest(g.ffn_norms(sets), 25)
    dead = g.by_cut(sets, {"fc1": cut, "fc2": cut})
    rows, columns = (
        torch.cat([d for each, d in zip(sets, dead, strict=True) if each.matrix == matrix])
        for matrix in ("fc1", "fc2")
    )
    assert int((rows | columns).sum()) == 4 * FFN // 4
