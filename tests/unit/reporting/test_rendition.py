"""Footnotes of tables."""

from nmtprune.reporting.rendition import Footnotes


def test_a_reason_has_one_mark_and_names_the_seeds_of_a_model_together():
    footnotes = Footnotes()
    absent = "; ".join(f"t/r/s{seed}/train has not run yet" for seed in (1, 2, 3))
    assert [footnotes.mark(each) for each in (absent, "", "COMET: not set", absent)] == [
        " (a)",
        "",
        " (b)",
        " (a)",
    ]
    assert footnotes.sentences == [
        "(a) train of r on t has not run yet (seeds 1, 2, 3).",
        "(b) COMET: not set.",
    ]
