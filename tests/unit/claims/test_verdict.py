"""The algebra of verdicts: its laws, and how often it is wrong or undecided when the truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmtprune.analysis.importance import spearman
from nmtprune.claims.verdict import (
    FEWEST_SEEDS,
    MARGIN,
    Estimate,
    Requirement,
    Undecidable,
    Verdict,
    agreement,
    agrees,
    alike,
    all_of,
    by_p,
    differs,
    every,
    not_worse,
    over_points,
    over_replicates,
    over_seeds,
    pooled,
    seeds_to_decide,
    signed,
    together,
    what_would_decide,
)

HOLDS, FAILS, UNDECIDED = Verdict
TRAINING, SENTENCE = (
    0.5,
    0.35,
)  # BLEU: standard deviation between trainings, standard error of one training's sentences
PAPERS_EFFECTS = (
    0.38,
    0.31,
    0.25,
    0.37,
    0.54,
    0.32,
    0.20,
)  # rejuvenated less trained on, Wang et al. 2020, tables 2 to 4


def exactly(value, error=0.25, seeds=3):
    """An estimate whose error is known."""
    return Estimate(value, 0.0, error**2, seeds)


def required(*values, bound=0.0, error=0.25):
    return [Requirement("", exactly(value, error), bound) for value in values]


finite = st.floats(-5, 5)
errors = st.floats(0.01, 2)


# --- laws


@settings(deadline=None)
@given(finite, errors, finite, st.floats(0, 2))
def test_a_verdict_follows_the_interval(value, error, bound, more):
    estimate = exactly(value, error)
    verdict = every([Requirement("", estimate, bound)]).verdict
    assert (verdict is HOLDS) == (estimate.low > bound) and (verdict is FAILS) == (estimate.high < bound)
    if verdict is HOLDS:  # a lower bound is met all the more
        assert every([Requirement("", estimate, bound - more)]).verdict is HOLDS


@settings(deadline=None)
@given(finite, errors, finite)
def test_the_opposite_statement_has_the_opposite_verdict(value, error, bound):
    opposite = {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}
    one = every([Requirement("", exactly(value, error), bound)]).verdict
    assert every([Requirement("", -exactly(value, error), -bound)]).verdict is opposite[one]


@settings(deadline=None)
@given(st.lists(st.tuples(finite, errors), min_size=1, max_size=6), st.tuples(finite, errors))
def test_a_further_requirement_makes_nothing_hold(estimates, further):
    requirements = [Requirement("", exactly(*each)) for each in estimates]
    if every(requirements).verdict is not HOLDS:
        assert every([*requirements, Requirement("", exactly(*further))]).verdict is not HOLDS


@settings(deadline=None)
@given(st.lists(st.tuples(finite, errors), min_size=1, max_size=6))
def test_the_pooled_mean_lies_between_its_parts_and_is_no_less_certain_than_the_most_certain(estimates):
    parts = [exactly(*each) for each in estimates]
    mean = pooled(parts)
    assert min(e.value for e in parts) - 1e-9 <= mean.value <= max(e.value for e in parts) + 1e-9
    if len(parts) > 1 and np.ptp([e.value for e in parts]) < 1e-6:
        assert mean.error <= min(e.error for e in parts) + 1e-9


@settings(deadline=None)
@given(st.lists(finite, min_size=3, max_size=9), st.floats(0.1, 3))
def test_units_do_not_change_a_verdict(values, factor):
    estimate = over_seeds(values, " BLEU", 0.01)
    requirement, scaled = Requirement("", estimate), Requirement("", estimate.scaled(factor, " %"))
    assert every([requirement]).verdict is every([scaled]).verdict
    assert scaled.estimate.half_width() == pytest.approx(factor * estimate.half_width())


def test_equivalence_asks_both_sides_and_fails_beyond_either():
    assert every(alike("", exactly(0.0, 0.1))).verdict is HOLDS
    assert every(alike("", exactly(0.45, 0.1))).verdict is UNDECIDED
    assert (
        every(alike("", exactly(1.0, 0.1))).verdict is every(alike("", exactly(-1.0, 0.1))).verdict is FAILS
    )


def test_no_loss_has_a_margin():
    assert every([not_worse("", exactly(-0.1, 0.1))]).verdict is HOLDS
    assert every([not_worse("", exactly(-0.4, 0.1))]).verdict is UNDECIDED
    assert every([not_worse("", exactly(-1.0, 0.1))]).verdict is FAILS


def test_one_of_many_cases_fails_only_if_it_is_clear_among_so_many():
    near = -2.1 * 0.25  # below 0 by its own interval
    assert every(required(near)).verdict is FAILS
    assert together(required(*[1.0] * 8, near)).verdict is HOLDS
    assert together(required(*[1.0] * 8, -1.0)).verdict is FAILS
    assert together(required(0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)).verdict is HOLDS  # none is significant alone
    assert every(required(0.2, 0.2, 0.2)).verdict is UNDECIDED


def test_cases_that_differ_widen_the_mean():
    alike_, unlike = pooled([exactly(0.5), exactly(0.5)]), pooled([exactly(-1.0), exactly(2.0)])
    assert alike_.value == unlike.value == pytest.approx(0.5) and unlike.error > 2 * alike_.error


def test_parts_of_a_claim():
    holds, fails, open_ = (every(required(value)) for value in (1.0, -1.0, 0.1))
    assert all_of([holds, holds]).verdict is HOLDS and all_of([holds, open_]).verdict is UNDECIDED
    assert (
        all_of([holds, open_, fails]).verdict is FAILS
        and all_of([holds, open_, fails]).deciding is fails.deciding
    )
    assert (
        holds.while_missing(["one is missing"]).verdict is UNDECIDED
        and fails.while_missing(["one is missing"]).verdict is FAILS
    )
    for nothing in (every, together, all_of):
        with pytest.raises(Undecidable):
            nothing([])


def test_fewer_than_three_seeds_speak_of_the_run():
    assert FEWEST_SEEDS == 3
    one, three = (every([Requirement("", exactly(1.0, seeds=seeds))]) for seeds in (2, 3))
    assert not one.of_method and three.of_method
    assert [verdict.of_run() for verdict in Verdict] == [
        "agrees, in this run",
        "disagrees, in this run",
        "undecided, in this run",
    ]


def test_seeds_add_their_variance_from_three_on():
    assert over_seeds([1.0, 3.0], "", 0.04).error == pytest.approx(0.2)  # their sentences alone
    three = over_seeds([1.0, 2.0, 3.0], "", 0.04)
    assert three.error == pytest.approx(math.sqrt(1 / 3 + 0.04)) and three.freedom == 2
    borrowed = over_seeds([1.0, 2.0, 3.0], "", 0.04, pooled=(0.25, 12))
    assert borrowed.error == pytest.approx(math.sqrt(0.25 / 3 + 0.04)) and borrowed.freedom == 12
    assert borrowed.half_width() < three.half_width()


def test_pooling_gives_three_seeds_the_half_width_of_the_design():
    """2.5 standard deviations from three seeds alone, 1.26 with twelve degrees of freedom."""
    alone, shared = over_seeds([-1.0, 0.0, 1.0], ""), over_seeds([-1.0, 0.0, 1.0], "", pooled=(1.0, 12))
    assert alone.half_width() == pytest.approx(2.48, abs=0.01) and shared.half_width() == pytest.approx(
        1.26, abs=0.01
    )


def test_sentences_that_seeds_share_are_not_averaged_away():
    generator = np.random.default_rng(1)
    common, own = generator.normal(0, 0.3, 4000), generator.normal(0, 0.4, (5, 4000))
    observed = np.array([0.1, -0.1, 0.3, -0.3, 0.0])[:, None]
    found = over_replicates(np.concatenate([observed, observed + common + own], axis=1), "")
    assert found.sentences == pytest.approx(
        0.09, rel=0.1
    )  # the seeds' own part is in the variance between them
    one = over_replicates(np.concatenate([observed[:1], observed[:1] + common + own[:1]], axis=1), "")
    assert one.error == pytest.approx(0.5, rel=0.05) and one.training == 0


def test_layers_are_a_sample():
    found = over_points(np.array([[1.0, 2.0, 3.0]] * 3), "")
    assert found.value == 2 and found.training == 0 and found.sentences == pytest.approx(1 / 3)
    assert over_points(np.ones((1, 1)), "").error == 0  # a fact of the run


def test_rank_correlations_have_a_bound_and_a_way_to_fail():
    ranks = np.arange(30)
    assert (
        spearman(ranks, ranks) == 1
        and spearman(ranks, -ranks) == -1
        and math.isnan(spearman(np.ones(3), ranks[:3]))
    )
    assert every([agrees("", agreement([0.85, 0.8, 0.82], 30))]).verdict is HOLDS
    assert every([agrees("", agreement([0.5, 0.55, 0.6], 30))]).verdict is UNDECIDED  # positive is not "well"
    assert every([agrees("", agreement([0.05, 0.0, 0.1], 30))]).verdict is FAILS
    assert every([differs("", agreement([0.05, 0.0, 0.1], 30))]).verdict is HOLDS
    assert str(agreement([0.8] * 3, 30)).startswith("+0.80 [+0.6")
    for few in ([0.9], 3), ([math.nan], 30):
        with pytest.raises(Undecidable):
            agreement(*few)


def test_a_p_value_decides_the_side():
    assert by_p(0.1, 0.01, "", True).verdict is HOLDS and by_p(-0.1, 0.01, "", True).verdict is FAILS
    assert by_p(0.1, 0.05, "", True).verdict is by_p(math.nan, math.nan, "", True).verdict is UNDECIDED


def test_an_open_claim_says_what_would_decide_it():
    open_ = Requirement("", Estimate(0.4, 0.25, 0.01, 3, 12))
    needed = seeds_to_decide(open_)
    assert needed == 10 and "10 seeds would decide" in what_would_decide(open_)
    assert what_would_decide(open_).startswith("half-width 0.65 BLEU, margin 0.4 BLEU")
    assert (
        seeds_to_decide(Requirement("", Estimate(0.4, 0.25, 0.09, 3, 12))) is None
    )  # the sentences leave it open
    assert "at least 3 seeds" in what_would_decide(Requirement("", Estimate(0.4, 0.0, 0.09, 1)))
    decided, missed = (Requirement("", Estimate(value, 0.25, 0.01, 3, 12)) for value in (0.7, -0.7))
    assert seeds_to_decide(decided) is None
    assert what_would_decide(decided).endswith("this part is decided; the claim waits for the missing cases")
    assert what_would_decide(missed).endswith("but not clearly among so many comparisons")


def test_cases_left_out_are_said_after_what_was_compared():
    holds = every(required(1.0)).but("better")
    absent = [f"toy/{recipe}/s1/train has not run yet" for recipe in "abc"]
    said = holds.while_missing([*absent, "the training is not on its plateau"]).because
    assert said == (
        "better; left out: toy/a/s1/train and 2 more have not run yet, and the training is not on its plateau"
    )
    assert holds.while_missing([]) == holds


def test_numbers_in_print():
    assert [signed(value) for value in (0.514, -1.3, 0.0, 0.0123, -0.0001)] == [
        "+0.51",
        "−1.30",
        "0.00",
        "+0.012",
        "0.00",
    ]
    assert (
        str(Estimate(math.log(1.34), 0, 0.0004, 3, unit=" as fast", scale="ratio"))
        == "1.34x as fast [1.29x, 1.39x]"
    )
    assert str(Estimate(50, 0, 0, 1, unit=" %")) == "+50.00 % (exact for these models, no interval)"
    assert Estimate(1, 0.04, 0, 3, 3.2).spread == (
        "SD between trainings 0.2 (3.2 degrees of freedom; below 12 this SD is itself uncertain)"
    )
    assert Estimate(1, 0.04, 0, 3, 12).spread == "SD between trainings 0.2 (12 degrees of freedom)"


# --- how often it is wrong, and how often it is silent


def simulated(effects, seeds, generator, shared=0.0):
    """Simulated estimates of differences in BLEU, one for each task.

    TRAINING is the deviation between seeds and SENTENCE that of each seed's sentences, of whose variance
    the part `shared` is the same in all seeds; the variance between trainings is pooled over the tasks.
    """
    drawn = []
    for effect in effects:
        common, own = math.sqrt(shared) * SENTENCE, math.sqrt(1 - shared) * SENTENCE
        values = (
            effect
            + generator.normal(0, TRAINING, seeds)
            + generator.normal(0, common)
            + generator.normal(0, own, seeds)
        )
        samples = values[:, None] + generator.normal(0, common, 200) + generator.normal(0, own, (seeds, 200))
        drawn.append(np.concatenate([values[:, None], samples], axis=1))
    variance = float(np.mean([each[:, 0].var(ddof=1) for each in drawn])) if seeds > 1 else 0.0
    pool = (variance, (seeds - 1) * len(effects)) if seeds > 1 else None
    return [over_replicates(each, " BLEU", pool) for each in drawn]


def rate(verdicts, wanted):
    return sum(each in wanted for each in verdicts) / len(verdicts)


@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("seeds", [3, 5])
def test_false_verdicts_at_no_effect_are_at_most_five_percent(seeds, shared):
    """With an effect of 0, neither `holds` nor `fails` is right for "is better".

    With a loss of exactly the margin, neither is right for "no loss".
    """
    generator = np.random.default_rng(seeds)
    single, joint, margin = [], [], []
    for _ in range(1500):
        found = simulated([0.0] * 7, seeds, generator, shared)
        single.append(every([Requirement("", found[0])]).verdict)
        joint.append(together([Requirement("", each) for each in found]).verdict)
        margin.append(every([not_worse("", replace_value(found[0], found[0].value - MARGIN))]).verdict)
    for verdicts in (single, joint, margin):
        assert rate(verdicts, (HOLDS, FAILS)) <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / 1500)


def replace_value(estimate, value):
    return Estimate(value, estimate.training, estimate.sentences, estimate.seeds, estimate.freedom)


@pytest.mark.parametrize(("seeds", "of_one", "of_all"), [(3, 0.15, 0.59), (5, 0.27, 0.82)])
def test_power_at_the_papers_effect(seeds, of_one, of_all):
    """Power for rejuvenated against continued models, at the paper's differences.

    One task (+0.38) stays undecided three or four times in five; the paper's seven comparisons together
    (+0.34 on average) hold in six of ten runs of three seeds, and in eight of ten of five.
    """
    generator = np.random.default_rng(10 + seeds)
    single, joint = [], []
    for _ in range(600):
        found = simulated(PAPERS_EFFECTS, seeds, generator)
        single.append(every([Requirement("", found[0])]).verdict)
        joint.append(together([Requirement("", each) for each in found]).verdict)
    assert rate(single, (FAILS,)) <= 0.01 and rate(joint, (FAILS,)) <= 0.01
    assert rate(single, (HOLDS,)) == pytest.approx(of_one, abs=0.05)
    assert rate(joint, (HOLDS,)) == pytest.approx(of_all, abs=0.04)


def test_one_seed_read_as_a_method_would_be_false_in_more_than_a_fifth():
    """Why a run with one seed speaks of itself alone."""
    generator = np.random.default_rng(0)
    found = [every([Requirement("", simulated([0.0], 1, generator)[0])]) for _ in range(1500)]
    assert rate([each.verdict for each in found], (HOLDS, FAILS)) > 0.2
    assert not any(each.of_method for each in found)
