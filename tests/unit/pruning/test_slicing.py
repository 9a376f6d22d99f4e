"""Slicing: a smaller dense model of the same function, its shape, and the paper's sparsity and cost."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.students import FFN, HEAD_DIM, HEADS, STUDENTS, SYMBOLS, D, student

from nmtprune.experiment import shapes
from nmtprune.experiment.recipe import Lasso
from nmtprune.experiment.step_kinds import GROUPS
from nmtprune.foundation.errors import UserError
from nmtprune.pruning import groups as g
from nmtprune.pruning.dead import rule_of
from nmtprune.pruning.groups import SubLayer
from nmtprune.pruning.slicing import dead_units, macs_per_word, shape_of, sliced, zeroed
from nmtprune.store.model import Model

# Widths and heads as tables 10 to 12 print them (encoder, then decoder; in the encoder, then context), and
# the sparsity printed with them. Table 3's widths do not give its own.
PRINTED = {
    "table 1a, 0.3": ([330, 633, 882, 738, 720, 1079], [1534] * 2, None, (45, None)),
    "table 1a, 1.0": ([29, 57, 82, 66, 100, 166], [339] * 2, None, (92, None)),
    "table 1b, 0.5": ([98, 239, 302, 234, 253, 399], [1536] * 2, None, (72, None)),
    "table 5, 0.2": ([137, 156, 135, 197, 350, 472], [77, 117, 129, 294, 684, 1533], None, (77, None)),
    "table 7, 0.2": (
        [728, 927, 540, 415, 429, 382, 334, 297, 321, 319, 474, 635],
        [1536],
        ([5, 3, 4, 4, 5, 4, 4, 3, 3, 3, 4, 4], [8]),
        (63, 48),
    ),
    "table 7, 0.7": (
        [108, 202, 105, 77, 66, 60, 30, 19, 28, 48, 112, 114],
        [1536],
        ([4, 2, 3, 3, 5, 3, 4, 1, 3, 1, 2, 4], [8]),
        (87, 59),
    ),
    "table 7, 0.3": (
        [414, 619, 338, 250, 255, 191, 138, 129, 135, 174, 298, 376],
        [1536],
        ([5, 2, 4, 3, 4, 4, 4, 1, 1, 2, 4, 4], [8]),
        (76, 56),
    ),
}


@torch.no_grad()
def logits(options, state, shape=""):
    from nmtprune.fairseq_bridge import generation

    dictionary = generation.as_dictionary(SYMBOLS)
    model = Model(state, options | {"shape": json.dumps(shape) if shape else ""}, SYMBOLS, SYMBOLS)
    module = generation.build_model(model, dictionary, dictionary).eval()
    source = torch.tensor([[1, 1, 5, 6, 7, 2], [8, 9, 10, 11, 12, 2]])
    previous = torch.tensor([[2, 13, 14, 15], [2, 16, 17, 1]])
    return module(source, torch.tensor([4, 6]), previous)[0]


def distinct(state):
    """How many names each tensor of a state has."""
    return {
        name: sum(other.data_ptr() == tensor.data_ptr() for other in state.values())
        for name, tensor in state.items()
        if tensor.numel()
    }


@st.composite
def removals(draw, name):
    """What goes of each sub-layer of a student; of tied ones of the first. Often nothing or all."""
    _, state = student(name)
    removed = {}
    for sub_layer in g.sub_layers(state):
        if STUDENTS[name].get("tied_decoder_layers") and sub_layer.side == "decoder" and sub_layer.layer:
            continue
        count = FFN if sub_layer.component == "ffn" else HEADS
        goes = draw(
            st.one_of(
                st.lists(st.booleans(), min_size=count, max_size=count),
                st.sampled_from([[True] * count, [False] * count]),
            )
        )
        removed[sub_layer] = torch.tensor(goes)
    return removed


@pytest.mark.parametrize("name", STUDENTS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_sliced_model_computes_what_the_zeroed_one_does(name, data):
    options, state = student(name)
    before = {
        key: tensor.clone() for key, tensor in state.items() if not key.endswith("_float_tensor")
    }  # fairseq never fills that
    removed = data.draw(removals(name))
    zeros = zeroed(state, removed)
    small, shape = sliced(state, removed, HEAD_DIM, options.get("activation_fn", "relu"))
    torch.testing.assert_close(logits(options, small, shape), logits(options, zeros), rtol=0, atol=1e-5)
    for sub_layer, goes in removed.items():
        assert shape[sub_layer.side][sub_layer.layer][sub_layer.component] == int((~goes).sum())
    assert all(torch.equal(state[key], tensor) for key, tensor in before.items())
    ties = distinct(state)
    for made in (zeros, small):
        assert distinct(made) == {key: ties[key] for key in made}


def test_nothing_removed_is_the_same_model():
    options, state = student("6-6")
    same, shape = sliced(state, {}, HEAD_DIM)
    assert same == state
    layers = [{"ffn": FFN, "self": HEADS}] * 2, [{"ffn": FFN, "cross": HEADS, "self": HEADS}] * 2
    assert shape == dict(zip(("encoder", "decoder"), layers, strict=True))
    assert list(shape["decoder"][0]) == ["ffn", "cross", "self"]
    assert logits(options, state).std() > 0.1


def test_a_sliced_model_slices_again():
    options, state = student("ssru")
    ffn, heads = SubLayer("encoder", 0, "ffn"), SubLayer("decoder", 1, "cross")
    once, _ = sliced(
        state, {ffn: torch.arange(FFN) < 4, heads: torch.tensor([True, False, False, False])}, HEAD_DIM
    )
    twice, shape = sliced(
        once, {ffn: torch.ones(FFN - 4, dtype=bool), heads: torch.tensor([False, True, False])}, HEAD_DIM
    )
    both = {ffn: torch.ones(FFN, dtype=bool), heads: torch.tensor([True, False, True, False])}
    assert shape == shape_of(sliced(state, both, HEAD_DIM)[0], HEAD_DIM)
    assert shape["encoder"][0] == {"ffn": 0, "self": HEADS} and shape["decoder"][1] == {
        "ffn": FFN,
        "cross": 2,
    }
    torch.testing.assert_close(
        logits(options, twice, shape), logits(options, zeroed(state, both)), rtol=0, atol=1e-5
    )
    assert "encoder.layers.0.fc2.weight" not in twice and "encoder.layers.0.fc1.bias" not in twice
    assert dead_units(twice, "ffn+att", "both", HEAD_DIM)[SubLayer("decoder", 1, "cross")].tolist() == [
        False,
        False,
    ]


def test_other_activations_are_refused():
    with pytest.raises(UserError, match="not with `tanh`"):
        sliced(student("6-6")[1], {}, HEAD_DIM, activation="tanh")


def dying(name, kind, deaths):
    """A student with zeros in these connections (matrix of encoder layer 0, units), and its removed units."""
    state = {key: tensor.clone() for key, tensor in student(name)[1].items()}
    for matrix, units in deaths.items():
        prefix = "encoder.layers.0." + ("" if matrix.startswith("fc") else "self_attn.")
        if matrix in ("fc2", "out_proj"):
            state[f"{prefix}{matrix}.weight"][:, units] = 0
        else:
            state[f"{prefix}{matrix}.weight"][units] = 0
            state[f"{prefix}{matrix}.bias"][units] = 0
    removed = dead_units(state, kind, "enc", HEAD_DIM)
    return {sub_layer: goes.nonzero().flatten().tolist() for sub_layer, goes in removed.items() if goes.any()}


def test_a_unit_goes_with_its_row_or_its_column():
    gone = dying("6-6", "ffn", {"fc1": [1, 5], "fc2": [5, 7]})
    assert gone == {SubLayer("encoder", 0, "ffn"): [1, 5, 7]}


@pytest.mark.parametrize("kind", ["ffn+att", "ffn+heads"])
def test_a_head_goes_with_half_its_connections(kind):
    attention = SubLayer("encoder", 0, "self")
    assert dying("6-6", kind, {"q_proj": range(4, 8), "out_proj": range(4, 8)}) == {attention: [1]}
    assert dying("6-6", kind, {"q_proj": range(4, 8)}) == {}


def test_connections_that_are_dead_here_and_there_add_up_only_where_they_are_groups():
    spread = {"q_proj": [8, 9], "k_proj": [8, 9], "v_proj": [8, 9], "out_proj": [10, 11]}
    assert dying("6-6", "ffn+att", spread) == {SubLayer("encoder", 0, "self"): [2]}
    assert dying("6-6", "ffn+att", spread | {"q_proj": [8]}) == {}


def test_a_unit_goes_when_all_its_blocks_do():
    assert dying("6-6", "blocks8", {"fc1": range(8), "fc2": range(8, 10)}) == {
        SubLayer("encoder", 0, "ffn"): list(range(10))
    }


def test_removing_dead_zero_groups_does_not_change_the_model():
    options, state = student("tied")
    state = dict(state)
    for key in ("encoder.layers.1.fc1", "decoder.layers.0.fc1"):
        for part in ("weight", "bias"):
            changed = state[f"{key}.{part}"].clone()
            changed[::2] = 0
            state |= {
                f"{each}.{part}": changed
                for each in {key, key.replace("decoder.layers.0", "decoder.layers.1")}
            }
    removed = dead_units(state, "ffn", "both", HEAD_DIM)
    small, shape = sliced(state, removed, HEAD_DIM)
    assert [layer["ffn"] for side in shape.values() for layer in side] == [12, 6, 6, 6]
    torch.testing.assert_close(logits(options, small, shape), logits(options, state), rtol=0, atol=1e-5)
    full = shape_of(state, HEAD_DIM)
    assert shapes.sparsity(shape, full, shapes.FFN, True) == pytest.approx(100 * 12 / 36)
    assert shapes.sparsity(shape, full, shapes.FFN) == pytest.approx(100 * 18 / 48)


@pytest.mark.parametrize("where", g.WHERE)
@pytest.mark.parametrize("kind", GROUPS)
def test_a_random_model_loses_nothing(kind, where):
    for name in STUDENTS:
        state = student(name)[1]
        for dead in ("threshold", "gap"):
            rule = rule_of(Lasso.over({"dead": dead, "threshold": g.THRESHOLD}), state, kind, where, HEAD_DIM)
            removed = dead_units(state, kind, where, HEAD_DIM, rule)
            assert removed and not any(goes.any() for goes in removed.values())


@pytest.mark.parametrize(("encoder", "decoder", "heads", "printed"), PRINTED.values(), ids=PRINTED)
def test_the_paper_s_widths_give_its_sparsities(encoder, decoder, heads, printed):
    def shape(encoder, decoder, heads):
        own, context = heads or ([8] * len(encoder), [8] * len(decoder))
        return {
            "encoder": [{"ffn": width, "self": count} for width, count in zip(encoder, own, strict=True)],
            "decoder": [
                {"ffn": width, "cross": count} for width, count in zip(decoder, context, strict=True)
            ],
        }

    pruned, full = shape(encoder, decoder, heads), shape([1536] * len(encoder), [1536] * len(decoder), None)
    tied = len(decoder) == 2
    assert round(shapes.sparsity(pruned, full, shapes.FFN, tied)) == printed[0]
    assert round(shapes.sparsity(pruned, full, shapes.ATTENTION, tied)) == (printed[1] or 0)


def test_multiply_accumulates_are_counted_by_hand():
    _, state = student("tied")
    attention, ffn, vocabulary = 4 * D * D, 2 * D * FFN, len(SYMBOLS) * D
    full = 2 * (attention + ffn) + 2 * (2 * D * D + attention + ffn)
    assert macs_per_word(state) == full + vocabulary
    assert macs_per_word(state, candidates=5) == full + 5 * D
    gone = {
        SubLayer("encoder", 1, "self"): torch.tensor([True, False, False, True]),
        SubLayer("decoder", 0, "ffn"): torch.arange(FFN) < 3,
    }
    assert (
        macs_per_word(sliced(state, gone, HEAD_DIM)[0]) == full + vocabulary - attention // 2 - 2 * 2 * D * 3
    )
