"""Cleaning: training text is parallel, without empty lines, and every pair is counted once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nmtprune.data.clean import DROPS, clean
from nmtprune.experiment.task import Cleaning

line = st.text(st.sampled_from("ab é中\t\n\r\x00\x85\u2028\u2029"), max_size=12)
cleanings = st.fixed_dictionaries(
    {},
    optional={
        "max_words": st.none() | st.integers(1, 4),
        "max_characters": st.none() | st.integers(1, 8),
        "max_ratio": st.none() | st.floats(1, 3),
        "control_characters": st.sampled_from(["replace", "drop"]),
        "duplicates": st.sampled_from(["keep", "drop"]),
    },
)


def cleaned(pairs, **cleaning):
    counts = Counter()
    return list(clean(pairs, Cleaning.over(cleaning), counts)), +counts


@given(st.lists(st.tuples(line, line), max_size=30), cleanings)
def test_kept_lines_are_whole_and_every_pair_is_counted_once(pairs, cleaning):
    kept, counts = cleaned(pairs, **cleaning)
    assert all(len(pair) == 2 and all(side == side.strip() != "" for side in pair) for pair in kept)
    assert all(len(side.splitlines()) == 1 for pair in kept for side in pair)
    assert counts["read"] == len(pairs) == counts["kept"] + sum(counts[reason] for reason in DROPS)
    assert counts["kept"] == len(kept)


@given(st.lists(st.tuples(line, line), max_size=30), cleanings)
def test_cleaning_twice_changes_nothing(pairs, cleaning):
    once, _ = cleaned(pairs, **cleaning)
    twice, counts = cleaned(once, **cleaning)
    assert twice == once and set(counts) <= {"read", "kept"}


def test_each_reason_drops_what_it_says():
    pairs = [
        ("a b", "c"),
        ("", "c"),
        ("a", " \t"),
        ("a\x00b", "c"),
        ("a b c d", "c"),
        ("a b c", "d"),
        ("a b", "c"),
    ]
    kept, counts = cleaned(pairs, max_words=3, max_ratio=2, control_characters="drop", duplicates="drop")
    assert kept == [("a b", "c")]
    assert counts == {
        "read": 7,
        "kept": 1,
        "empty": 2,
        "control characters": 1,
        "too long": 1,
        "ratio": 1,
        "duplicate": 1,
    }


def test_control_characters_become_spaces_and_tabs_stay():
    assert cleaned([("a\u2028b\x85c", "d\te")])[0] == [("a b c", "d\te")]
    assert cleaned([("a\u2028b", "c")], control_characters="keep")[0] == [("a\u2028b", "c")]


def test_labels_travel_along():
    assert cleaned([(" a", "b ", "labels")])[0] == [("a", "b", "labels")]
