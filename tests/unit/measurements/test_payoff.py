"""Whether pruning pays: pruned models beside models of their cost that are trained from scratch."""

import pytest

from nmtprune.experiment import chain, config
from nmtprune.measurements.payoff import (
    Offer,
    before_mask,
    is_from_scratch,
    is_pruned,
    payoff,
    sentences,
    zeros,
)

CONFIG = config.from_settings({})
SLICED = "train-pretrain/lasso-ffn-both-to67/slice/converge"


def model(steps, recipe="toy-student-2-2"):
    return chain.parse(f"toy/{recipe}/s1/{steps}")


def offer(steps, quality, cost, recipe="toy-student-2-2", floor=30.0):
    return Offer(model(steps, recipe), quality, cost, quality > floor, f"BLEU {quality:g}, {cost:g} MB")


def said(*offers):
    return sentences(CONFIG, offers, "size")


@pytest.mark.parametrize(
    ("steps", "pruned", "from_scratch"),
    [
        ("train", False, True),
        ("import-mine", False, True),
        ("train/continue", False, True),
        ("train/int8-onnx/finetune", False, True),
        ("train/drop-2", False, True),
        (f"{SLICED}/restart", False, True),
        (f"{SLICED.removesuffix('/converge')}/restart/int8-onnx", False, True),
        ("train/prune-global-50", True, False),
        ("train/prune-global-50/restart", True, False),
        ("train/prune-global-50/retrain/int8-onnx", True, False),
        (SLICED, True, False),
        (f"{SLICED}/prune-global-50/retrain", True, False),
        ("train/cut-2/continue", True, False),
        ("train/prune-global-50/retrain/rejuvenate-zero", False, False),
        ("train/rewind-2", False, False),
        ("train-pretrain/lasso-ffn-both-8/converge", False, False),
    ],
)
def test_pruned_models_and_models_trained_from_scratch_are_told_apart(steps, pruned, from_scratch):
    assert (is_pruned(model(steps)), is_from_scratch(model(steps))) == (pruned, from_scratch)


@pytest.mark.parametrize(
    ("steps", "before"),
    [
        ("train", None),
        ("train/prune-global-50/retrain", "train"),
        (f"{SLICED}/prune-global-50/retrain/prune-global-60", SLICED),
        ("train/prune-global-50/retrain/rejuvenate-zero", None),
    ],
)
def test_a_sparse_model_is_compared_with_the_model_before_its_mask(steps, before):
    assert before_mask(model(steps)) == (before and model(before))


def test_nothing_is_said_without_pruned_models_or_without_a_pick():
    assert said(offer("train", 32, 4), offer("train", 31, 2, "toy")) == []
    assert said(offer("train", 29, 4), offer(SLICED, 28, 2)) == []


def test_speeds_that_were_measured_beside_other_processes_decide_nothing():
    offers = offer("train", 32, 4), offer("train", 31.5, 2.05, "toy"), offer(SLICED, 31, 2)
    unknown, to_compare = sentences(CONFIG, offers, "speed", busy=True)
    assert unknown.startswith("Whether pruning pays at this speed is not known: other processes ran")
    assert to_compare == "To compare, time them with nothing else running."
    assert sentences(CONFIG, offers[:2], "speed", busy=True) == []  # nothing is pruned


def test_pruning_does_not_pay_where_a_model_from_scratch_costs_as_little_and_loses_little_enough():
    dense, small, sliced = offer("train", 32, 4), offer("train", 31.5, 2.05, "toy"), offer(SLICED, 31, 2)
    made = payoff(CONFIG, [dense, small, sliced])
    assert (made.pruned, made.scratch, made.pays) == (sliced, small, False)
    assert said(dense, small, sliced) == [
        "Pruning does not pay at this size: toy/toy/s1/train, BLEU 31.5, 2.05 MB, is trained from scratch."
    ]
    smaller = offer("train", 31.5, 1.5, "toy")
    assert said(dense, smaller, sliced) == [
        "Pruning does not pay at this size: this model is trained from scratch.",
        f"The best pruned model is {sliced.chain}: BLEU 31, 2 MB.",
    ]


def test_a_shape_that_pruning_found_is_owed_to_pruning_also_where_it_is_trained_from_scratch():
    again = offer(f"{SLICED}/restart", 31.5, 2)
    assert said(offer("train", 32, 4), offer(SLICED, 31, 2), again) == [
        "Pruning pays at this size for a shape, not for weights: this model has one that pruning found, and "
        "is trained from scratch.",
        f"The best pruned model is {model(SLICED)}: BLEU 31, 2 MB.",
    ]
    plain = offer("train", 30.5, 2.1, "toy")
    assert said(offer("train", 32, 4), offer(SLICED, 31, 2), again, plain)[0] == (
        "Pruning does not pay at this size: toy/toy/s1/train, BLEU 30.5, 2.1 MB, is trained from scratch."
    )


def test_pruning_pays_as_far_as_is_measured_where_models_from_scratch_as_cheap_lose_too_much():
    offers = [offer("train", 32, 4), offer("train", 29, 1.9, "toy"), offer(SLICED, 31, 2)]
    worse = offer("train", 28, 1, "toy-deep-shallow")
    assert payoff(CONFIG, [*offers, worse]).pays is True
    assert said(*offers, worse) == [
        "Pruning pays at this size, as far as is measured: trained from scratch, the best is "
        "toy/toy/s1/train, BLEU 29, 1.9 MB."
    ]


def test_where_no_model_from_scratch_is_as_cheap_the_chain_that_would_tell_is_named():
    dense, sliced, sparse = offer("train", 32, 4), offer(SLICED, 31, 2), offer("train/prune-global-50", 31, 2)
    unknown = (
        "Whether pruning pays at this size is not known: no model trained from scratch has it; the nearest, "
        "toy/toy-student-2-2/s1/train, has BLEU 32, 4 MB."
    )
    restarted = f"{SLICED.removesuffix('/converge')}/restart"
    assert said(dense, sliced) == [unknown, f"To compare, make {model(restarted)}."]
    assert said(dense, sparse) == [unknown, "To compare, train a recipe with fewer or narrower layers."]
    rounded = offer(f"{SLICED}/int8-onnx", 31, 0.5)
    assert payoff(CONFIG, [dense, rounded]).wanted == model(f"{restarted}/int8-onnx")


def test_pruned_models_that_all_lose_too_much_are_told_with_the_best():
    offers = [offer("train", 32, 4), offer("train/prune-global-50", 20, 2), offer(SLICED, 25, 2)]
    assert said(*offers) == [
        f"Pruning loses too much: the best pruned model, {model(SLICED)}, has BLEU 25, 2 MB."
    ]


def test_models_in_8_bits_that_lose_too_much_are_named_as_such():
    rounded = offer("train/int8-onnx", 31, 1), offer("train/prune-global-50/int8-onnx", 20, 0.9)
    assert said(offer("train", 32, 4), *rounded)[0].startswith(
        "Pruning loses too much: the best pruned model in 8 bits, "
    )


def test_models_in_8_bits_are_compared_with_their_like():
    dense, sliced, rounded = offer("train", 32, 4), offer(SLICED, 31, 2), offer("train/int8-onnx", 31.8, 1)
    assert said(dense, sliced, rounded) == [
        "Whether pruning pays at this size is not known: no pruned model in 8 bits is measured.",
        f"To compare, make {model(SLICED)}/int8-onnx.",
    ]
    both = offer(f"{SLICED}/int8-onnx", 30.5, 0.5)
    made = payoff(CONFIG, [dense, sliced, rounded, both])
    assert (made.pruned, made.scratch, made.pays) == (both, rounded, None)
    small = offer("train/int8-onnx", 31, 0.5, "toy")
    assert payoff(CONFIG, [dense, sliced, rounded, both, small]).pays is False


def test_zeros_are_said_to_save_time_only_where_they_do():
    assert zeros([]) is None
    assert zeros([(0.54, 0.98), (0.5, 1.04)]) == (
        "Zeros make files smaller, not translation faster: sparse models have 0.50 to 0.54 times the size "
        "and 0.98 to 1.04 times the speed of the same without (2 models)."
    )
    assert zeros([(0.54, 1.2)]) == (
        "Sparse models have 0.54 times the size and 1.20 times the speed of the same without (1 model)."
    )
