"""Known identities, frozen: a change of one retrains models that people have.

If one changes on purpose (a step computes something else, a shipped recipe is another), raise the kind's
`version` in nmtprune/experiment/step_kinds.py or give the reason in the recipe's history, and write the
new digests here. If it changes by accident (a new key without a default, another order of merging),
correct the code instead.
"""

import pytest
from support.workplace import MICRO

from nmtprune.experiment import chain, config, slices
from nmtprune.foundation.files import digest

RUN = config.from_settings({"own": str(MICRO)})

GOLDEN = {
    "micro/micro/s1/train": "1a4ed7b1e8262d27",
    "micro/micro/s2/train": "84c6d872142922bc",
    "micro/micro/s1/train/continue": "14242beac0c310d0",
    "micro/micro/s1/train/continue-patient": "5e9535521177850b",
    "micro/micro/s1/train/at-50": "8ac42bdbe3b01d75",
    "micro/micro/s1/train/prune-local-50": "f2fbbb498db8163d",
    "micro/micro/s1/train/prune-distribution-12.5": "b0ba7c64aaa8bca4",
    "micro/micro/s1/train/prune-local-50/retrain": "2abb098433aa9a39",
    "micro/micro/s1/train/prune-local-50/retrain/rejuvenate-zero": "e06920527ab394cc",
    "micro/micro/s1/train/prune-local-50/retrain/rejuvenate-external": "f5f72f17ae0a68ec",
    "micro/micro/s1/train/prune-local-50/restart": "96847efa6845a133",
    "micro/micro/s1/train/prune-local-50/restart-ticket": "48eac9ade6f52f8e",
    "toy/toy/s1/train": "b978122b9a3a412f",
    "toy/toy/s1/train/prune-local-50/retrain": "bfad6149b7b8821c",
    "toy/toy-lstm/s1/train": "9f5853a64e1a0a17",
    "toy-distilled/toy-student-2-2/s1/train": "9564391425f3fdef",
    "multi30k-en-de/tiny-96/s1/train": "729827f52d047f28",
    "multi30k-en-de/tiny-96/s1/train/continue": "4491f4cab1efb768",
    "multi30k-en-de/tiny-96/s1/train/prune-local-50/retrain": "db6ee117a093040d",
    "multi30k-en-de/tiny-96/s1/train/prune-local-50/retrain/rejuvenate-zero": "d03cd1ba6f98d7a2",
    "multi30k-en-de/tiny-lstm/s1/train/prune-global-80/restart": "17167d9c82a27052",
    "wmt14-en-de/lstm/s1/train/prune-global-80/retrain": "92657e3469d9ff96",
    "wmt14-en-de/base/s1/train": "326ff191aead6a2f",
    "wmt14-en-de/base/s1/train/continue": "4f14b31d2a129512",
    "wmt14-en-de/big/s1/train/prune-local-50/retrain": "bd723fa00a6cd59b",
}


@pytest.mark.parametrize("text", GOLDEN)
def test_identities_stay(text):
    assert digest(slices.of_step(RUN, chain.parse(text))) == GOLDEN[text]


def test_slices_in_words():
    assert slices.of_step(RUN, chain.parse("micro/micro/s1/train/prune-local-50")) == {
        "step": "prune-local-50",
        "version": 1,
        "prunable": {"embeddings": "in"},
    }
    assert slices.of_step(RUN, chain.parse("micro/micro/s1/train/prune-local-50/rejuvenate-zero")) == {
        "step": "rejuvenate-zero",
        "version": 2,
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
