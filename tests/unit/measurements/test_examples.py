"""The choice of example sentences."""

import pytest

from nmtprune.measurements.examples import chosen, sentence_chrf


def test_the_random_sample_depends_on_seed_and_size_alone():
    wanted = {"random": 5, "largest": 3, "seed": 1}
    drawn = [line for kind, line in chosen(wanted, 100, None) if kind == "random"]
    assert drawn == [
        line for kind, line in chosen(wanted, 100, [float(line) for line in range(100)]) if kind == "random"
    ]
    assert len(set(drawn)) == 5 and drawn == sorted(drawn)
    assert drawn != [line for _, line in chosen({**wanted, "seed": 2}, 100, None)]
    assert len(chosen(wanted, 2, None)) == 2


def test_the_largest_differences_are_shown_of_both_signs_and_equal_ones_never():
    wanted = {"random": 0, "largest": 2, "seed": 1}
    assert chosen(wanted, 6, [1.0, -2.0, 0.0, 5.0, 3.0, -9.0]) == [
        ("gain", 3),
        ("gain", 4),
        ("loss", 5),
        ("loss", 1),
    ]
    assert chosen(wanted, 3, [0.0, 0.0, -1.0]) == [("loss", 2)]


def test_the_chrf_of_a_sentence_is_100_for_its_reference_and_0_without_a_shared_character():
    reference = "the red cat sees the old house"
    same, near, far = sentence_chrf([reference, "the red dog sees the old house", "zzzz"], [reference] * 3)
    assert same == pytest.approx(100) and 60 < near < 95 and far == 0
