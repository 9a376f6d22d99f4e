"""Pruning schemes: exact to one weight, by magnitude, ties by position."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmtprune.experiment.chain import parse_step
from nmtprune.experiment.step_kinds import SCHEMES
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.classes import class_of, layer_of
from nmtprune.pruning.schemes import GROUPS, counts, masks
from nmtprune.pruning.selection import masks_of_steps

NAMES = (
    "encoder.embed_tokens.weight",
    "encoder.layers.0.self_attn.q_proj.weight",
    "encoder.layers.0.fc1.weight",
    "encoder.layers.1.fc1.weight",
    "decoder.embed_tokens.weight",
    "decoder.layers.0.encoder_attn.q_proj.weight",
    "decoder.layers.0.fc1.weight",
    "decoder.output_projection.weight",
)
percents = st.sampled_from(["0.1", "1", "10", "12.5", "33.3", "50", "66.7", "80", "90", "99", "99.9"])


@st.composite
def models(draw):
    """Weights with zeros and ties (values on a coarse grid), in any number of matrices."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    coarse = draw(st.sampled_from([0.5, 2.0, 1000.0]))
    shapes = {name: (draw(st.integers(1, 12)), draw(st.integers(1, 12))) for name in names}
    return {
        name: (torch.randn(shape, generator=generator) * coarse).round() / coarse
        for name, shape in shapes.items()
    }


def pruned(made):
    return sum(int((~mask).sum()) for mask in made.values())


def size(weights):
    return sum(tensor.numel() for tensor in weights.values())


@settings(max_examples=60, deadline=None)
@given(models(), st.sampled_from(SCHEMES), percents)
def test_every_scheme_prunes_its_percentage_of_all_weights_exactly(weights, scheme, percent):
    made = masks(weights, scheme, percent)
    assert {name: mask.shape for name, mask in made.items()} == {
        name: tensor.shape for name, tensor in weights.items()
    }
    assert pruned(made) == round(Fraction(percent) / 100 * size(weights))


@settings(max_examples=40, deadline=None)
@given(models(), st.sampled_from(["uniform", "local", "layer"]), percents)
def test_every_group_has_its_percentage_within_one_weight(weights, scheme, percent):
    made = masks(weights, scheme, percent)
    group_of = {"uniform": class_of, "layer": layer_of, "local": str}[scheme]
    for group in {group_of(name) for name in weights}:
        of_group = {name: weights[name] for name in weights if group_of(name) == group}
        goes = sum(int((~made[name]).sum()) for name in of_group)
        assert abs(goes - Fraction(percent) / 100 * size(of_group)) <= 1


@settings(max_examples=40, deadline=None)
@given(models(), st.sampled_from(["global", "uniform", "local", "layer"]), percents)
def test_no_pruned_weight_is_larger_than_a_kept_one_of_its_group(weights, scheme, percent):
    made = masks(weights, scheme, percent)
    for group in {GROUPS[scheme](name) for name in weights}:
        names = [name for name in weights if GROUPS[scheme](name) == group]
        gone = torch.cat([weights[name][~made[name]].abs() for name in names])
        kept = torch.cat([weights[name][made[name]].abs() for name in names])
        assert not len(gone) or not len(kept) or gone.max() <= kept.min()


@settings(max_examples=40, deadline=None)
@given(models(), st.sampled_from(SCHEMES), percents)
def test_pruning_again_prunes_the_same(weights, scheme, percent):
    made = masks(weights, scheme, percent)
    again = masks({name: tensor * made[name] for name, tensor in weights.items()}, scheme, percent)
    assert all(torch.equal(again[name], made[name]) for name in made)


def test_distribution_is_one_lambda_times_the_deviation_of_each_class():
    """See et al. 2016, 3.3."""
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: torch.randn(20, 30, generator=generator) * (1 + number) for number, name in enumerate(NAMES)
    }
    made = masks(weights, "distribution", "40")
    sigma = {}
    for label in map(class_of, NAMES):
        values = torch.cat([weights[n].double().flatten() for n in NAMES if class_of(n) == label])
        sigma[label] = ((values - values.mean()) ** 2).mean().sqrt()
    in_sigmas = {name: weights[name].double().abs() / sigma[class_of(name)] for name in NAMES}
    one_lambda = max(in_sigmas[name][~made[name]].max() for name in NAMES) + 1e-9
    assert all(torch.equal(~made[name], in_sigmas[name] < one_lambda) for name in NAMES)
    assert pruned(made) == round(0.4 * size(weights))


def test_distribution_of_a_class_without_deviation():
    """A class that is zero altogether has no deviation; its weights are the smallest there are."""
    weights = {
        "encoder.layers.0.fc1.weight": torch.zeros(5, 4),
        "decoder.layers.0.fc1.weight": torch.arange(1.0, 21).view(5, 4),
    }
    made = masks(weights, "distribution", "50")
    assert not made["encoder.layers.0.fc1.weight"].any() and made["decoder.layers.0.fc1.weight"].all()
    made = masks(weights, "distribution", "75")
    assert pruned(made) == 30 and not made["encoder.layers.0.fc1.weight"].any()


def test_global_takes_all_from_the_smaller_matrix_and_local_half_of_each():
    weights = {
        "encoder.layers.0.fc1.weight": torch.full((4, 4), 0.1),
        "decoder.layers.0.fc1.weight": torch.full((4, 4), 2.0),
    }
    assert [int((~mask).sum()) for mask in masks(weights, "global", "50").values()] == [16, 0]
    assert [int((~mask).sum()) for mask in masks(weights, "local", "50").values()] == [8, 8]


def test_ties_go_by_position():
    made = masks(
        {"decoder.layers.0.fc1.weight": torch.tensor([[1.0, -1.0, 0.5], [1.0, 1.0, -1.0]])}, "local", "50"
    )
    assert made["decoder.layers.0.fc1.weight"].tolist() == [[False, False, False], [True, True, True]]
    equal = {
        "decoder.layers.0.fc1.weight": torch.zeros(2, 3),
        "decoder.layers.0.fc2.weight": torch.zeros(3, 2),
    }
    made = [mask.flatten().tolist() for mask in masks(equal, "global", "66.7").values()]
    assert made == [[False] * 6, [False, False, True, True, True, True]]
    assert all(mask.all() for mask in masks(equal, "global", "0.1").values())
    assert not any(mask.any() for mask in masks(equal, "global", "99").values())


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=30), percents)
def test_counts_are_exact_in_total_and_within_one_by_group(sizes, percent):
    share = Fraction(percent) / 100
    found = counts(sizes, percent)
    assert sum(found) == round(share * sum(sizes))
    assert all(
        0 <= count <= size and abs(count - share * size) <= 1
        for count, size in zip(found, sizes, strict=True)
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_half_precision_prunes_as_single(scheme):
    generator = torch.Generator().manual_seed(5)
    weights = {name: torch.randn(6, 7, generator=generator).half() for name in NAMES}
    single = masks({name: tensor.float() for name, tensor in weights.items()}, scheme, "50")
    half = masks(weights, scheme, "50")
    assert all(torch.equal(half[name], single[name]) for name in NAMES)


def test_one_class_is_pruned_by_the_thresholds_of_the_whole_model():
    """See et al. 2016, figure 4."""
    torch.manual_seed(3)
    weights = {
        "encoder.embed_tokens.weight": torch.randn(30, 8),
        "decoder.output_projection.weight": 3 * torch.randn(30, 8),
    }
    made = masks_of_steps(weights, "in")
    whole, one = made(parse_step("prune-global-60")), made(parse_step("prune-global-60-softmax"))
    assert torch.equal(one["decoder.output_projection.weight"], whole["decoder.output_projection.weight"])
    assert one["encoder.embed_tokens.weight"].all()
    with pytest.raises(UserError, match=r"no weight class `softmaxx`; did you mean `softmax`"):
        made(parse_step("prune-global-60-softmaxx"))


def test_what_was_pruned_before_stays_pruned():
    weights = {
        "encoder.embed_tokens.weight": torch.randn(30, 8),
        "decoder.output_projection.weight": torch.randn(30, 8),
    }
    before = masks_of_steps(weights, "in")(parse_step("prune-global-80"))
    later = masks_of_steps(weights, "in", before)
    for step in ("prune-global-50", "prune-global-50-softmax"):
        assert not any((mask & ~before[name]).any() for name, mask in later(parse_step(step)).items())
