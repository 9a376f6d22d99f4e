"""Tooltips of cells."""

import math

import pandas as pd
from support.pretended import Pretended

from nmtprune.experiment import config
from nmtprune.experiment.run import Run
from nmtprune.reporting import tips


def test_a_cell_says_seeds_interval_and_difference_and_an_empty_one_nothing():
    run = Run(config.from_settings({"preset": "toy", "papers": ["wang2020/table2"], "seeds": [1, 2]}))
    (item,) = run.items
    measured = Pretended(run.config, quality=lambda model: 0.9 - 0.1 * model.seed)
    numbers = pd.DataFrame({"bleu": [math.nan] * len(item.rows)})
    numbers["bleu_low"], numbers["bleu_high"] = 20.25, 30.0
    numbers["delta_low"], numbers["delta_high"], numbers["p_bootstrap"] = -1.5, -0.25, 0.012
    numbers.loc[1, "bleu"] = 25.0
    said = tips.of_cells(item, numbers, measured)
    assert set(said) == {(1, "bleu")}
    seeds, interval, difference = said[1, "bleu"].split("; ")
    values = [measured.value(chain, "bleu") for chain in item.rows[1].chains]
    assert seeds == f"seed 1: {values[0]:.2f}, seed 2: {values[1]:.2f}"
    assert interval == "95 % interval 20.25 to 30.00"
    assert difference == "difference from the baseline −1.50 to −0.25 BLEU, p = 0.012 (paired bootstrap)"


def test_the_difference_is_said_of_the_test_set_on_which_it_was_tested_alone():
    run = Run(config.from_settings({"preset": "toy", "papers": ["behnke2021/table9"]}))
    (item,) = run.items
    measured = Pretended(run.config, quality=lambda model: 0.9)
    numbers = pd.DataFrame({"bleu": [25.0] * len(item.rows), "bleu_2": 24.0, "p_bootstrap": 0.012})
    numbers["delta_low"], numbers["delta_high"] = -1.5, -0.25
    said = tips.of_cells(item, numbers, measured)
    assert "difference from the baseline" in said[1, "bleu"]
    assert "difference from the baseline" not in said[1, "bleu_2"]
