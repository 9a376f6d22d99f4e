"""Known identities, frozen: an edit that changes one retrains models that people have.

Where one changes on purpose (a step computes something else, a shipped recipe is another), raise the family's `version` in
nmtprune/chain.py or say in the recipe's history why, and write the new digests here. Where it changes by accident (a new key
without a default, another order of merging), mend the code instead.
"""

import pytest
from nmtprune import chain, config
from nmtprune.files import digest

RUN = config.from_settings({})

GOLDEN = {}


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
