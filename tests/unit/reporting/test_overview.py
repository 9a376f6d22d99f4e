"""The picture that sums a run up, and the verdicts in numbers."""

from dataclasses import replace

import pytest
from support.pretended import Pretended

from nmtprune.claims import CLAIMS, Finding
from nmtprune.claims.verdict import Verdict
from nmtprune.experiment import chain, config
from nmtprune.experiment.run import Run
from nmtprune.measurements.compared import Compared, compared
from nmtprune.reporting import claims_page
from nmtprune.reporting.claims_page import Decided
from nmtprune.reporting.overview import METHODS, method, overview
from nmtprune.speed.protocol import IDLE

TOY = {"preset": "toy", "papers": ["wang2020/table2", "wang2020/figure1"]}


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ("train", "another model from scratch"),
        ("train/continue", "trained further"),
        ("train/prune-local-50", "weights pruned"),
        ("train/prune-local-50/retrain/rejuvenate-zero", "weights pruned and trained further"),
        ("train/prune-global-50/restart", "another training of the pruned shape"),
        ("train-pretrain/lasso-ffn-both-to67/slice/converge", "group lasso"),
        ("train-pretrain/lasso-ffn-both-to67/slice/converge/int8-onnx", "8 bits"),
        ("train/rewind-3", "components removed"),
        ("train/cut-3", "components removed"),
    ],
)
def test_each_chain_counts_for_one_method(steps, name):
    assert METHODS[method(chain.parse(f"toy/toy/s1/{steps}"))][0] == name


def test_models_are_compared_with_their_dense_parent_over_all_seeds():
    run = Run(config.from_settings({**TOY, "seeds": [1, 2]}))
    measured = Pretended(run.config, quality=lambda model: 0.9 ** len(model.steps) - 0.01 * model.seed)
    rows = {str(row.chain): row for row in compared(run, measured)}
    pruned = [chain.parse(f"toy/toy/s{seed}/train/prune-local-20") for seed in (1, 2)]
    differences = [measured.value(each, "bleu") - measured.value(each.parent, "bleu") for each in pruned]
    assert rows["toy/toy/s1/train/prune-local-20"].bleu == pytest.approx(sum(differences) / 2)
    assert rows["toy/toy/s1/train/prune-local-20"].seeds == 2
    assert "toy/toy/s2/train/prune-local-20" not in rows and "toy/toy/s1/train" not in rows


@pytest.mark.parametrize(("others", "busy"), [(IDLE, False), (IDLE + 0.01, True)])
def test_a_speed_that_was_timed_beside_other_processes_is_known_as_such(others, busy):
    run = Run(config.from_settings(TOY))
    measured = Pretended(run.config, quality=lambda model: 0.9, seconds=lambda model: 2.0, others=others)
    assert {row.busy for row in compared(run, measured)} == {busy}


def test_small_and_fast_models_that_lose_little_are_named():
    run = Run(config.from_settings(TOY))
    first, *_ = compared(run, Pretended(run.config, quality=lambda model: 0.9))
    rows = [
        replace(first, bleu=-0.4, size=0.5, speed=0.9),
        replace(first, bleu=-0.6, size=0.1, speed=9.0),
        replace(first, bleu=-30.0, size=0.2, speed=None),
    ]
    picture = overview(rows, str, run.config)
    of_smallest = "Smallest within 0.5 BLEU of its dense model: 50% of the size, −0.40 BLEU"
    (pick,) = picture.picks
    assert (pick.said, pick.chain, pick.address) == (of_smallest, str(first.chain), str(first.chain))
    several = overview([replace(rows[0], seeds=3, speed=1.18, busy=True)], str, run.config)
    assert [pick.said for pick in several.picks] == [
        f"{of_smallest}, mean of 3 seeds (the link leads to seed 1)",
        "Fastest within 0.5 BLEU of its dense model: 1.18 times as fast, −0.40 BLEU, mean of 3 seeds (the "
        "link leads to seed 1); timed beside other processes, so speeds are rough and decide no claim",
    ]
    assert several.panels[0].points[0].title.endswith("0.50 times its size, mean of 3 seeds")
    assert picture.said == "3 models, 2 of them timed; 1 within 0.5 BLEU of the dense model, or better."
    by_size, by_speed = picture.panels
    assert (len(by_size.points), len(by_speed.points)) == (3, 2)
    assert [point.beyond for point in by_size.points] == [False, False, True]
    assert overview([], str, run.config).panels == []


def test_beneath_a_pick_the_page_says_whether_pruning_pays():
    """Only models that are compared with the same dense one stand beside each other."""
    dense, other = (chain.parse(f"toy/{recipe}/s1/train") for recipe in ("toy-deep", "toy"))
    steps = ("train/prune-local-50/retrain", "train-pretrain/lasso-ffn-both-to67/slice/converge")
    pruned, sliced = (chain.parse(f"toy/toy-deep/s1/{each}") for each in steps)
    small = chain.parse("toy/toy-deep-shallow/s1/train")
    rows = [
        Compared(pruned, dense, 0.1, 0.6, 1.03),
        Compared(sliced, dense, -0.2, 0.5, 1.5),
        Compared(small, other, 0.3, 0.4, 1.6),
    ]
    settings = config.from_settings(TOY)
    alone = overview(rows[:2], str, settings)
    assert alone.zeros == (
        "Zeros make files smaller, not translation faster: sparse models have 0.60 times the size and 1.03 "
        "times the speed of the same without (1 model)."
    )
    unknown = (
        f"no model trained from scratch has it; the nearest, {dense}, has +0.00 BLEU, 1.00 times as fast."
    )
    size, speed = (pick.payoff for pick in alone.picks)
    assert speed[0] == f"Whether pruning pays at this speed is not known: {unknown}"
    assert [
        pick.payoff for pick in overview([*rows[:2], replace(rows[2], bleu=-2.0)], str, settings).picks
    ] == [size, speed]
    beaten = overview([*rows[:2], replace(rows[2], against=dense)], str, settings)
    assert [pick.payoff for pick in beaten.picks] == [
        [
            f"Pruning does not pay at this {noun}: this model is trained from scratch.",
            f"The best pruned model is {sliced}: −0.20 BLEU, {numbers}.",
        ]
        for noun, numbers in (("size", "50% of the size"), ("speed", "1.50 times as fast"))
    ]


def test_a_model_without_size_and_speed_is_counted_but_moves_no_axis():
    run = Run(config.from_settings(TOY))
    first, *_ = compared(run, Pretended(run.config, quality=lambda model: 0.9))
    placed, unplaced = replace(first, bleu=-0.4, size=0.5), replace(first, bleu=-8.0, size=None, speed=None)
    picture, alone = overview([placed, unplaced], str, run.config), overview([placed], str, run.config)
    assert picture.panels[0].points == alone.panels[0].points and picture.methods == alone.methods
    assert picture.said.endswith("or better; 1 without size and speed are not drawn.")


def test_verdicts_are_counted_in_one_order_and_those_on_the_run_alone_apart():
    findings = [
        (Verdict.FAILS, True),
        (Verdict.HOLDS, False),
        (Verdict.UNDECIDED, True),
        (Verdict.UNDECIDED, False),
    ]
    decided = [
        Decided(CLAIMS[0], Finding(verdict, "", of_method=of_method), ()) for verdict, of_method in findings
    ]
    counts = [(each.name, each.count, each.before) for each in claims_page.counts(decided)]
    assert counts == [("agrees", 1, 0), ("undecided", 2, 1), ("fails", 1, 3)]
    assert "say nothing of the papers" in claims_page.how_sure(decided)
    assert "say nothing of the papers" not in claims_page.how_sure(decided[:1])


def test_undecided_claims_without_an_estimate_are_counted_apart():
    def decided(*estimated):
        return [Decided(CLAIMS[0], Finding(Verdict.UNDECIDED, "", estimated=each), ()) for each in estimated]

    said = "0 hold, 0 fail and 3 are undecided, 2 of them without an estimate."
    assert claims_page.summary(decided(True, False, False)) == f"Of 3 claims {said}"
    (count,) = claims_page.counts(decided(True, False, False))
    assert count.said == "are undecided, 2 of them without an estimate"
    assert claims_page.counts(decided(False))[0].said == "is undecided, without an estimate"
    assert claims_page.summary(decided(True, True)).endswith("2 are undecided.")
