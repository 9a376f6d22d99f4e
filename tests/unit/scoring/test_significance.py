"""Significance: real differences are found, others are not, and the statistics are sacreBLEU's."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from nmtprune.scoring.quality import Quality
from nmtprune.scoring.significance import (
    NORMAL_95,
    SCORES,
    bleu,
    interval,
    likelihood_statistics,
    nll_per_token,
    paired_bootstrap,
    sign_test,
    substitution_gains,
)

WORDS = [f"word{number}" for number in range(200)]


def references(count: int = 300, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(5, 20))) for _ in range(count)]


def noisy(lines: list[str], share: float, seed: int) -> list[str]:
    """The lines with a share of their words replaced."""
    generator = random.Random(seed)
    return [
        " ".join(generator.choice(WORDS) if generator.random() < share else word for word in line.split())
        for line in lines
    ]


def bleu_statistics(hypotheses: list[str], references: list[str]) -> np.ndarray:
    """[1, sentences, 10]"""
    return Quality(references).statistics(hypotheses)[None]


def statistics(share: float, *seeds: int) -> np.ndarray:
    lines = references()
    return np.concatenate([bleu_statistics(noisy(lines, share, seed), lines) for seed in seeds])


@given(
    st.lists(
        st.tuples(st.text("ab .", max_size=30), st.text("ab .", min_size=1, max_size=30)),
        min_size=1,
        max_size=5,
    )
)
def test_bleu_of_summed_statistics_is_sacrebleus(pairs):
    hypotheses, targets = (list(side) for side in zip(*pairs, strict=True))
    expected = sacrebleu.corpus_bleu(hypotheses, [targets]).score
    assert bleu(bleu_statistics(hypotheses, targets).sum(1))[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("measure", ["bleu", "chrf", "chrfpp", "ter"])
@given(
    st.lists(
        st.tuples(*[st.text("ab .", max_size=20)] * 3),
        min_size=1,
        max_size=5,
    )
)
def test_scores_of_summed_statistics_are_sacrebleus_with_two_references(measure, lines):
    hypotheses, first, second = (list(side) for side in zip(*lines, strict=True))
    quality = Quality(first, more=[second], measures=["chrfpp", "ter"])
    found = SCORES[measure](quality.statistics(hypotheses, measure).sum(0).astype(float))
    assert found == pytest.approx(quality.scores(hypotheses)[measure], abs=1e-6)


def test_comet_is_compared_by_the_same_bootstrap():
    """By scores of a stand-in: COMET's weights need a network."""
    generator = np.random.default_rng(0)
    baseline = generator.normal(80, 5, 300)
    pair = [
        np.stack([each, np.ones(300)], -1)[None]
        for each in (baseline, baseline + generator.normal(1, 1, 300))
    ]
    found = paired_bootstrap(*pair, SCORES["comet"])
    assert found.difference == pytest.approx(float((pair[1] - pair[0]).sum() / 300))
    assert found.p < 0.01 and found.high - found.low == pytest.approx(2 * 1.96 / 300**0.5, rel=0.1)


def test_an_interval_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(80, 5, 400)
    one = np.stack([values, np.ones(400)], -1)[None]
    low, high = interval(one, score=SCORES["comet"])
    assert low + high == pytest.approx(2 * values.mean(), rel=1e-3)
    assert high - low == pytest.approx(2 * NORMAL_95 * values.std() / 20, rel=0.1)
    of_two_sets = interval(one, one, score=SCORES["comet"])
    assert of_two_sets[1] - of_two_sets[0] == pytest.approx((high - low) / 2**0.5, rel=0.1)


def test_seeds_that_differ_widen_the_interval():
    same, other = statistics(0.3, 1, 1, 1), statistics(0.3, 1, 1, 1)
    other[2] = statistics(0.6, 2)[0]
    widths = [high - low for low, high in (interval(same), interval(other))]
    assert interval(same) == pytest.approx(interval(same[:1])) and widths[1] > 2 * widths[0]


def test_a_system_does_not_differ_from_itself():
    system = statistics(0.3, 1)
    found = paired_bootstrap(system, system)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert sign_test(substitution_gains(system, system)).p == 1.0


def test_two_equally_noisy_systems_do_not_differ():
    assert paired_bootstrap(statistics(0.3, 1), statistics(0.3, 2)).p > 0.05


def test_a_clearly_better_system_is_better():
    baseline, system = statistics(0.35, 1), statistics(0.25, 2)
    found = paired_bootstrap(baseline, system)
    assert found.p < 0.01
    assert 0 < found.low < found.difference < found.high
    signs = sign_test(substitution_gains(baseline, system))
    assert signs.p < 0.01
    assert signs.better > signs.worse
    assert paired_bootstrap(system, baseline).difference == -found.difference


def test_p_is_near_that_of_sacrebleus_randomisation_test():
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    lines = references()
    systems = [noisy(lines, 0.3, 1), noisy(lines, 0.28, 2)]
    named = [("baseline", systems[0]), ("system", systems[1])]
    test = PairedTest(
        named, {"BLEU": BLEU(references=[lines])}, references=None, test_type="ar", n_samples=5000
    )
    ours = paired_bootstrap(*(bleu_statistics(system, lines) for system in systems), samples=5000)
    assert ours.p == pytest.approx(test()[1]["BLEU"][1].p_value, abs=0.05)


def test_the_same_seed_gives_the_same_numbers():
    systems = statistics(0.3, 1), statistics(0.28, 2)
    assert paired_bootstrap(*systems, seed=7) == paired_bootstrap(*systems, seed=7)
    assert paired_bootstrap(*systems, seed=7) != paired_bootstrap(*systems, seed=8)


def test_several_seeds_are_pooled():
    baseline, system = statistics(0.3, 1, 2, 3), statistics(0.24, 4, 5, 6)
    found = paired_bootstrap(baseline, system)
    expected = np.mean(
        [bleu(ours) - bleu(theirs) for ours, theirs in zip(system.sum(1), baseline.sum(1), strict=True)]
    )
    assert found.difference == pytest.approx(expected)
    assert found.p < 0.01
    with pytest.raises(ValueError, match="differ in shape"):
        paired_bootstrap(baseline, system[:2])


def test_likelihoods_are_compared_by_the_same_bootstrap():
    generator = np.random.default_rng(0)
    tokens = generator.integers(5, 20, 300)
    baseline = tokens * generator.normal(2.0, 0.2, 300)
    found = paired_bootstrap(
        likelihood_statistics(baseline, tokens), likelihood_statistics(baseline * 0.95, tokens), nll_per_token
    )
    assert found.p < 0.01
    assert found.difference == pytest.approx(-0.05 * baseline.sum() / tokens.sum())


def test_sign_test_is_the_exact_binomial():
    found = sign_test(np.array([1.0] * 9 + [-1.0] + [0.0] * 5))
    assert (found.better, found.worse) == (9, 1)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)


def test_a_thousand_resamples_of_a_thousand_sentences_take_a_moment():
    lines = references(1000)
    systems = [bleu_statistics(noisy(lines, share, 1), lines) for share in (0.3, 0.31)]
    start = time.process_time()
    paired_bootstrap(*systems)
    assert time.process_time() - start < 0.5
