"""The dead rule of recipe `student` finds what the paper's lasso kills, at its rates and lambdas (4.2)."""

import json
import random

import pytest
import torch
import yaml
from torch import nn

from nmtprune.experiment import config
from nmtprune.pruning.dead import rule_of
from nmtprune.pruning.groups import groups
from nmtprune.training.penalties import GroupLasso

RUN = config.from_settings({})
SETTINGS = RUN.recipe("student-6-6").lasso
PEAK = RUN.schedule("student-6-6", "lasso").learning_rate.warm_up  # the update at which the rate is highest
UNITS, WIDTH = 4, 256


def feed_forward(seed=1):
    """The groups of some units of a student's first feed-forward network, as large as they begin."""
    torch.manual_seed(seed)
    shapes = {
        "fc1.weight": (UNITS, WIDTH),
        "fc1.bias": (UNITS,),
        "fc2.weight": (WIDTH, UNITS),
        "fc2.bias": (WIDTH,),
    }
    return {
        f"encoder.layers.0.{name}": nn.Parameter((torch.rand(shape) - 0.5) * 0.12)
        for name, shape in shapes.items()
    }


def dead_share(parameters, **changed):
    """The share of the groups that a rule calls dead: the recipe's, or the same with other settings."""
    rule = rule_of(SETTINGS.altered(**changed), parameters, "ffn", "enc", 32)
    return torch.cat(rule(groups(parameters, "ffn", "enc", 32))).float().mean().item()


def train(strength, updates, noise=0.0):
    """Units after a number of updates of the recipe's lasso, from the peak of its rate on.

    The updates use its Adam and its rates, and the penalty of equation 2 only, or also a gradient of the
    data. That is random, `noise` times as large as the penalty's, and, as in backpropagation,
    proportional to the weights on the unit's other side.
    """
    schedule, parameters = RUN.schedule("student-6-6", "lasso"), feed_forward()
    lasso, optimizer = GroupLasso(parameters, "ffn", "enc", 32, SETTINGS.gamma), schedule.optimizer
    adam = torch.optim.Adam(parameters.values(), betas=optimizer.betas, eps=optimizer.eps, fused=True)
    w1, w2 = (parameters[f"encoder.layers.0.{name}.weight"] for name in ("fc1", "fc2"))
    begun = w1.detach().norm(dim=1), w2.detach().norm(dim=0)
    for update in range(PEAK, PEAK + updates):
        adam.zero_grad()
        (strength / SETTINGS.reference_words * lasso.value()).backward()
        if noise:
            size = (
                noise * strength / SETTINGS.reference_words
            )  # the penalty's gradient is of this size at a weight of average size
            with torch.no_grad():
                w1.grad += size * torch.randn_like(w1) * (w2.norm(dim=0) / begun[1])[:, None]
                w2.grad += size * torch.randn_like(w2) * (w1.norm(dim=1) / begun[0])
        for group in adam.param_groups:
            group["lr"] = schedule.learning_rate.at(update)
        adam.step()
    return parameters


@pytest.mark.parametrize("strength, updates, noise", [(0.1, 600, 0), (1.0, 600, 0), (0.3, 2500, 5)])
def test_groups_that_the_lasso_kills_are_dead(strength, updates, noise):
    parameters = train(strength, updates, noise)
    assert dead_share(parameters) == 1
    # ... and by the sum of absolute values, the plainest reading of "a sum less than 1e-5", none would be
    assert dead_share(parameters, dead="threshold") == 0


def test_without_a_lasso_no_group_is_dead():
    assert dead_share(train(0.0, 300, 0)) == 0


# times than the paper's are the rates, which end after 500 updates and not 250,000: weights go 1.2 at most,
# at full length 31
HIGHER = 16
RANDOM = {
    "title": "Random words",
    "source": "src",
    "target": "tgt",
    **{split: [{"files": f"own/{split}.{{lang}}"}] for split in ("train", "dev")},
    "test": {"test": [{"files": "own/dev.{lang}"}]},
}


def test_a_lasso_of_the_recipe_leaves_dead_groups_and_lambda_0_none(workplace):
    """The recipe itself at a width of 16, on random words, with lambdas of the paper's.

    Lambda speaks of the words of these batches, as in equation 2: their gradient is as much noisier than
    that of the paper's.
    """
    draws = random.Random(1)
    for kind in ("recipes", "tasks"):
        (workplace / "own" / kind).mkdir(parents=True)
    for split, count in (("train", 300), ("dev", 20)):
        for side in ("src", "tgt"):
            lines = (
                " ".join(f"w{draws.randrange(30)}" for _ in range(draws.randint(3, 9))) for _ in range(count)
            )
            (workplace / "own" / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    rate = RUN.schedule("student-6-6", "lasso").learning_rate
    shorter = {
        "updates": 500,
        "validate_every": 500,
        "learning_rate": {**rate.said, "peak": HIGHER * rate.peak, "warm_up": 50},
    }
    recipe = {
        "extends": "student-6-6",
        "title": "Student of width 16",
        "subwords": {"type": "words", "size": 40, "joint": True},
        "architecture": {
            "encoder_layers": 1,
            "decoder_layers": 1,
            "embed_dim": 16,
            "ffn_dim": 32,
            "heads": 2,
        },
        "lasso": {"reference_words": None},
        "training": {"batch_tokens": 256, "accumulate": 1},
        "schedules": {"train-pretrain": {"updates": 50, "validate_every": 50}, "lasso": shorter},
    }
    (workplace / "own" / "recipes" / "narrow.yaml").write_text(yaml.safe_dump(recipe))
    (workplace / "own" / "tasks" / "random.yaml").write_text(yaml.safe_dump(RANDOM))
    workplace.configure(own="own", preset="toy")
    workplace.make_data("random", "narrow")
    shares = {}
    for strength in ("0.5", "0"):
        sliced = workplace.make(f"random/narrow/s1/train-pretrain/lasso-ffn-both-{strength}/slice")
        shares[strength] = json.loads((sliced / "manifest.json").read_text())["ffn_sparsity"]
    print(shares)
    assert shares["0.5"] > 50 and shares["0"] == 0
