"""Known identities, frozen: an edit that changes one retrains models that people have.

Where one changes on purpose (a step computes something else, a shipped recipe is another), raise the family's `version` in
nmtprune/chain.py or say in the recipe's history why, and write the new digests here. Where it changes by accident (a new key
without a default, another order of merging), mend the code instead.
"""

import pytest
from conftest import MICRO

from nmtprune import chain, config
from nmtprune.files import digest

RUN = config.from_settings({"own": str(MICRO)})

GOLDEN = {
    "micro/micro/s1/train": "1a4ed7b1e8262d27",
    "micro/micro/s2/train": "84c6d872142922bc",
    "micro/micro/s1/train/continue": "e0d64749e8f637b4",
    "micro/micro/s1/train/continue-patient": "59fb08024782c81c",
    "micro/micro/s1/train/at-50": "8ac42bdbe3b01d75",
    "micro/micro/s1/train/prune-local-50": "f2fbbb498db8163d",
    "micro/micro/s1/train/prune-distribution-12.5": "b0ba7c64aaa8bca4",
    "micro/micro/s1/train/prune-local-50/retrain": "77ac517dbaee4e55",
    "micro/micro/s1/train/prune-local-50/retrain/rejuvenate-zero": "06884681a60250f6",
    "micro/micro/s1/train/prune-local-50/retrain/rejuvenate-external": "cfc0c08f3fc2ab80",
    "micro/micro/s1/train/prune-local-50/restart": "77f957dca691efa3",
    "micro/micro/s1/train/prune-local-50/restart-ticket": "2dc154f66fa27af2",
    "toy/toy/s1/train": "379b59d04be5fcee",
    "toy/toy/s1/train/prune-local-50/retrain": "176aaa5cd75ddc41",
    "toy/toy-lstm/s1/train": "ca56db21a049a2a1",
    "toy-distilled/toy-student-2-2/s1/train": "f2dce2965ec00211",
    "multi30k-en-de/tiny-96/s1/train": "974f8671f66a461c",
    "multi30k-en-de/tiny-96/s1/train/continue": "063acc9efce69400",
    "multi30k-en-de/tiny-96/s1/train/prune-local-50/retrain": "555a2ff5c616cf7c",
    "multi30k-en-de/tiny-96/s1/train/prune-local-50/retrain/rejuvenate-zero": "58cd720d9c3364de",
    "multi30k-en-de/tiny-lstm/s1/train/prune-global-80/restart": "2c4b10739a28b777",
    "wmt14-en-de/lstm/s1/train/prune-global-80/retrain": "81a6027d0ffda7bf",
    "wmt14-en-de/base/s1/train": "326ff191aead6a2f",
    "wmt14-en-de/base/s1/train/continue": "70607f0f0c506488",
    "wmt14-en-de/big/s1/train/prune-local-50/retrain": "62baf2677fb2365b",
}


@pytest.mark.parametrize("text", GOLDEN)
def test_identities_stay(text):
    assert digest(RUN.slice(chain.parse(text))) == GOLDEN[text]


def test_slices_in_words():
    assert RUN.slice(chain.parse("micro/micro/s1/train/prune-local-50")) == {
        "step": "prune-local-50",
        "version": 1,
        "prunable": {"embeddings": "in"},
    }
    assert RUN.slice(chain.parse("micro/micro/s1/train/prune-local-50/rejuvenate-zero")) == {
        "step": "rejuvenate-zero",
        "version": 1,
        "schedule": {
            "optimizer": {"name": "adam", "betas": [0.9, 0.98], "eps": 1e-9, "weight_decay": 0},
            "label_smoothing": 0.1,
            "batch_tokens": 500,
            "validate_every": 8,
            "updates": 12,
            "learning_rate": {"phases": [{"updates": 12, "rate": 5e-4}]},
        },
    }


def test_the_order_of_keys_is_no_part_of_an_identity():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
