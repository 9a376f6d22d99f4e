"""Contribution, criticality and agreement: equations of Wang and Tu 2020 on numbers computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ConstantInputWarning, spearmanr

from nmtprune.analysis.importance import (
    Importance,
    by_sentences,
    contributions,
    criticalities,
    rank_agreement,
    spearman,
    unimportant,
)
from nmtprune.scoring.quality import Quality
from nmtprune.scoring.significance import bleu, likelihood_statistics, nll_per_token

SCORES = arrays(float, st.integers(1, 40), elements=st.floats(0, 60))


# Equation 1


def test_drops_are_clipped_to_c_and_divided_by_the_largest():
    # C is 3 BLEU: 0.5 of 3, nothing for a gain, 3 of 3 for a collapse
    assert contributions(30.0, np.array([29.5, 30.7, 4.0, 27.0]), 10) == pytest.approx([1 / 6, 0, 1, 1])


def test_without_a_drop_of_c_the_largest_drop_is_one():
    assert contributions(30.0, np.array([29.5, 29.0, 30.0]), 10) == pytest.approx([0.5, 1, 0])


def test_nothing_contributes_where_nothing_loses():
    assert list(contributions(20.0, np.array([20.0, 21.0]), 10)) == [0, 0]
    assert list(contributions(0.0, np.array([0.0, 3.0]), 10)) == [0, 0]


def test_likelihoods_are_given_negated():
    # C is 0.2 nats per token
    assert contributions(-2.0, -np.array([2.1, 1.9, 5.0]), 10) == pytest.approx([0.5, 0, 1])


def test_an_unknown_score_spoils_no_other():
    found = contributions(30.0, np.array([29.0, math.nan, 28.0]), 10)
    assert found[[0, 2]] == pytest.approx([0.5, 1]) and math.isnan(found[1])


def test_replicates_have_a_baseline_each():
    found = contributions(np.array([30.0, 20.0]), np.array([[29.0, 28.0], [19.0, 10.0]]), 10)
    assert found == pytest.approx(np.array([[0.5, 1], [0.5, 1]]))


@given(baseline=st.floats(1, 60), scores=SCORES, clip=st.floats(0.1, 100))
def test_contributions_lie_between_0_and_1_and_the_largest_is_1_or_all_are_0(baseline, scores, clip):
    found = contributions(baseline, scores, clip)
    assert found.shape == scores.shape and (found >= 0).all() and (found <= 1).all()
    assert found.max() == (1 if (scores < baseline).any() else 0)


@given(baseline=st.floats(1, 60), scores=SCORES, clip=st.floats(0.1, 100))
def test_a_component_that_loses_more_contributes_no_less(baseline, scores, clip):
    order = np.argsort(-scores)
    assert (np.diff(contributions(baseline, scores, clip)[order]) >= 0).all()


# Equation 2


def by_alpha(*values):
    """BLEU at alpha 0, 0.25, 0.5, 0.75 and 1."""
    return pd.Series(values, index=[0, 0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((30, 30, 30, 30, 30), (0, 0)),  # may go all the way back
        ((1, 10, 29.4, 29.6, 30), (0.75, 0.75)),
        ((1, 10, 29.5, 29.6, 30), (0.75, 0.75)),  # a drop of epsilon itself does not hold
        ((1, 29.6, 20, 29.8, 30), (0.25, 0.75)),  # not monotone
        ((29.6, 10, 10, 10, 30), (0, 1)),
        ((1, 2, 3, 4, 30), (1, 1)),
    ],
)
def test_criticality_is_the_smallest_alpha_that_holds_and_from_which_all_do(values, expected):
    assert criticalities(30.0, by_alpha(*values), 0.5) == expected
    assert criticalities(30.0, by_alpha(*values).iloc[::-1], 0.5) == expected


def test_the_trained_weights_hold_whatever_was_measured_of_them():
    assert criticalities(30.0, by_alpha(1, 1, 1, 1, 20), 0.5) == (1, 1)


def test_criticality_needs_the_trained_weights():
    with pytest.raises(ValueError, match=r"alpha has to go up to 1\.0"):
        criticalities(30.0, by_alpha(1, 2, 3, 4, 30).iloc[:-1], 0.5)


@given(
    scores=arrays(float, 5, elements=st.floats(0, 60)), baseline=st.floats(1, 60), epsilon=st.floats(0.01, 5)
)
def test_both_alphas_hold_and_the_smallest_comes_first(scores, baseline, epsilon):
    values = by_alpha(*scores)
    first, settled = criticalities(baseline, values, epsilon)
    assert first <= settled
    assert all(
        alpha == 1 or baseline - values[alpha] < epsilon
        for alpha in values.index
        if alpha >= settled or alpha == first
    )
    assert not any(baseline - values[alpha] < epsilon for alpha in values.index if alpha < first)


@given(scores=arrays(float, 5, elements=st.floats(0, 60)), epsilon=st.floats(0.01, 5))
def test_where_bleu_grows_with_alpha_the_two_are_one(scores, epsilon):
    values = by_alpha(*sorted(scores))
    assert len(set(criticalities(values[1.0], values, epsilon))) == 1


# Replicates


REFERENCES = [
    "a small dog runs across the wet grass",
    "two men are playing chess in a park",
    "the old house stands on a hill by the sea",
] * 20


def test_replicates_of_equal_sentences_are_the_contributions_themselves():
    hypotheses = [REFERENCES, [line.replace("the", "a") for line in REFERENCES], REFERENCES]
    statistics = np.stack([Quality([REFERENCES[0]] * 30).statistics([lines[0]] * 30) for lines in hypotheses])
    scores = bleu(statistics.sum(1))
    drawn = by_sentences(statistics, 10, samples=20)
    assert drawn.shape == (20, 2)
    assert drawn == pytest.approx(np.tile(contributions(scores[0], scores[1:], 10), (20, 1)))


def test_replicates_spread_around_the_contributions():
    worse = [line.replace("the", "some") for line in REFERENCES]
    much_worse = [
        " ".join(reversed(line.split())) if place % 20 == 0 else line for place, line in enumerate(REFERENCES)
    ]
    statistics = np.stack(
        [Quality(REFERENCES).statistics(lines) for lines in (REFERENCES, worse, much_worse)]
    )
    scores = bleu(statistics.sum(1))
    drawn = by_sentences(statistics, 100)
    expected = contributions(scores[0], scores[1:], 100)
    assert drawn.mean(0) == pytest.approx(expected, abs=0.05) and (drawn.std(0) > 0).any()


def test_replicates_by_likelihood():
    tokens = np.full(40, 10.0)
    nll = np.array([np.full(40, 10.0), np.full(40, 10.5), np.full(40, 30.0)])
    statistics = np.concatenate([likelihood_statistics(each, tokens) for each in nll])
    drawn = by_sentences(statistics, 10, score=lambda sums: -nll_per_token(sums), samples=5)
    assert drawn == pytest.approx(np.tile([0.5, 1.0], (5, 1)))


# Rank agreement


def importance(values, components=None, replicates=None):
    values = np.atleast_2d(np.asarray(values, float))
    return Importance(
        components or tuple(f"E.FF.{layer}" for layer in range(1, values.shape[1] + 1)), values, replicates
    )


def test_spearman_by_hand_with_ties():
    # ranks 1.5 1.5 3 4 and 1 2 3 4: 1 - 6 * 0.5 / 60 without the correction for ties; Pearson's r of the
    # ranks is 0.9487
    assert spearman(np.array([0, 0, 0.2, 1]), np.array([0.1, 0.2, 0.3, 0.4])) == pytest.approx(
        4.5 / math.sqrt(4.5 * 5)
    )


@pytest.mark.filterwarnings(f"ignore::{ConstantInputWarning.__module__}.{ConstantInputWarning.__name__}")
@given(arrays(float, (2, 12), elements=st.floats(0, 1).map(lambda value: round(value, 2))))
def test_spearman_is_scipys(values):
    ours, theirs = float(spearman(*values)), spearmanr(*values).statistic
    assert math.isnan(ours) == math.isnan(theirs) and (
        math.isnan(ours) or ours == pytest.approx(theirs, abs=1e-12)
    )


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(3, 12)), elements=st.floats(0, 1), unique=True))
def test_an_importance_agrees_with_itself_and_is_opposite_to_its_opposite(values):
    ours = importance(values)
    means = ours.mean.to_numpy()
    if len(set(means)) == len(means):
        assert rank_agreement(ours, ours, samples=50).rho == pytest.approx(1)
        assert rank_agreement(ours, importance(-values), samples=50).rho == pytest.approx(-1)


@given(arrays(float, (2, 10), elements=st.floats(0, 1)))
def test_the_interval_holds_the_correlation_and_agreement_is_mutual(values):
    ours, theirs = map(importance, values)
    found = rank_agreement(ours, theirs, samples=100)
    assert math.isnan(found.rho) or math.isnan(found.low) or -1 <= found.low <= found.rho <= found.high <= 1
    assert (
        rank_agreement(theirs, ours, samples=100) == found or math.isnan(found.rho) or math.isnan(found.low)
    )


def test_ranks_do_not_care_for_the_scale():
    values = np.random.default_rng(1).random(30)
    assert rank_agreement(importance(values), importance(values**3)).rho == pytest.approx(1)


def test_unrelated_importances_have_an_interval_around_nothing():
    one, other = np.random.default_rng(3).random((2, 30))
    found = rank_agreement(importance(one), importance(other))
    assert found.low < 0 < found.high and found.over == "components" and found.components == 30
    # the standard error of Fisher's z of a rank correlation over n is about 1.03 / sqrt(n - 3)
    assert math.atanh(found.high) - math.atanh(found.low) == pytest.approx(
        2 * 1.96 * 1.03 / math.sqrt(27), rel=0.25
    )


def test_the_interval_is_of_percentiles_and_holds_rho_where_these_lie_below():
    values, swapped = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.2, 0.1, 0.3, 0.4])  # rho of the two is 0.8
    always = importance(values, replicates=np.tile(values, (1, 100, 1)))
    found = rank_agreement(always, importance(values, replicates=np.tile(swapped, (1, 100, 1))), 100)
    assert (found.rho, found.low, found.high) == pytest.approx((1.0, 0.8, 1.0))


def test_components_that_one_of_the_two_lacks_are_left_out():
    ours = importance([0.1, 0.2, 0.3, 0.9], ("E.FF.1", "E.FF.2", "D.SA.1", "D.FF.1"))
    theirs = importance([0.1, 0.2, math.nan, 0.3], ("E.FF.1", "E.FF.2", "D.EA.1", "D.FF.1"))
    found = rank_agreement(ours, theirs, samples=200)
    assert found.components == 3 and found.rho == pytest.approx(1)


def test_no_agreement_is_defined_where_one_side_does_not_vary():
    found = rank_agreement(importance([0, 0, 0, 0]), importance([0.1, 0.4, 0.2, 0.3]))
    assert math.isnan(found.rho) and math.isnan(found.low) and math.isnan(found.high)
    assert rank_agreement(importance([0.5], ("E.FF.1",)), importance([0.5], ("D.FF.1",))).components == 0


def test_more_noise_over_sentences_makes_a_wider_interval():
    generator = np.random.default_rng(5)
    values = np.linspace(0, 1, 20)

    def noisy(spread):
        return importance(values, replicates=values + spread * generator.normal(size=(1, 500, 20)))

    narrow, wide = (rank_agreement(noisy(spread), noisy(spread), samples=500) for spread in (0.02, 0.2))
    assert narrow.over == wide.over == "sentences"
    assert 1 - narrow.low < 0.02 < 1 - wide.low


def test_seeds_are_drawn_where_there_are_several():
    values = np.array([[0.0, 0.1, 0.2, 0.9], [0.9, 0.2, 0.1, 0.0]])  # two trainings that do not agree at all
    replicates = np.repeat(values[:, None], 400, axis=1)
    one = rank_agreement(
        importance(values[:1], replicates=replicates[:1]),
        importance(values[:1], replicates=replicates[:1]),
        400,
    )
    of_both = importance([0.1, 0.2, 0.3, 0.4], replicates=np.tile([0.1, 0.2, 0.3, 0.4], (1, 400, 1)))
    several = rank_agreement(importance(values, replicates=replicates), of_both, 400)
    assert one.over == "sentences" and one.low > 0.99
    assert several.over == "sentences and seeds" and several.low < -0.9


# Depth


def test_two_layers_of_a_deeper_model_stand_at_the_place_of_one():
    deeper = importance(
        [0.1, 0.3, 0.5, 0.9, 0.7, 0.8],
        tuple(f"{kind}.{layer}" for kind in ("E.SA",) for layer in range(1, 7)),
    )
    assert deeper.at_depths({"E.SA": 3}).values[0] == pytest.approx([0.2, 0.7, 0.75])
    # 6 layers at 4 places, each of one and a half: the first and half of the second
    assert deeper.at_depths({"E.SA": 4}).values[0, 0] == pytest.approx((0.1 + 0.3 / 2) / 1.5)


def test_a_deeper_model_agrees_by_relative_depth():
    shallow = importance([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    deep = importance(np.linspace(0, 1, 12))
    assert rank_agreement(shallow, deep).rho == rank_agreement(deep, shallow).rho == pytest.approx(1)
    assert rank_agreement(shallow, deep).components == 6


@given(arrays(float, (2, 12), elements=st.floats(0, 1)), st.integers(1, 12))
def test_the_mean_importance_is_kept_at_every_depth(values, depth):
    found = importance(values).at_depths({"E.FF": depth})
    assert found.values.shape == (2, depth)
    assert found.values.mean(axis=1) == pytest.approx(values.mean(axis=1))


def test_a_layer_that_is_not_known_leaves_its_place_unknown():
    deeper = importance([0.1, math.nan, 0.5, 0.9])
    found = deeper.at_depths({"E.FF": 2}).values[0]
    assert math.isnan(found[0]) and found[1] == pytest.approx(0.7)


def test_unimportant_components_contribute_less_than_a_twentieth():
    assert list(unimportant(np.array([[0, 0.049, 0.05, 1], [0.1, 0.2, 0.3, math.nan]]))) == [2, 0]
