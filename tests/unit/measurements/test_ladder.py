"""How many weights models can spare, and how that grows with width; no number in this file was measured."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pretended import Pretended, run_of, translated

from nmtprune.claims import CLAIMS
from nmtprune.claims.evidence import Evidence
from nmtprune.claims.verdict import Verdict
from nmtprune.experiment import config
from nmtprune.experiment.run import Run
from nmtprune.measurements.ladder import families, ladder
from nmtprune.measurements.spare import is_bound, slope, spare
from nmtprune.reporting import kinds

SHARES = [20, 40, 60]


@pytest.mark.parametrize(
    ("losses", "share", "bound"),
    [
        ([0.0, 0.0, 0.4], 60, True),
        ([0.0, 0.25, 0.75], 50, False),
        ([1.0, 2.0, 3.0], 10, False),
        ([0.5, 1.5, 9.0], 20, False),
        ([-0.5, 1.5, -9.0], 60, True),
        ([0.0, 2.0, 0.0], 30, False),
    ],
)
def test_what_can_go_is_where_the_loss_first_exceeds_the_margin(losses, share, bound):
    assert float(spare(SHARES, np.array(losses))) == pytest.approx(share)
    assert bool(is_bound(np.array(losses))) is bound


@given(st.lists(st.floats(-3, 30), min_size=3, max_size=3), st.floats(0, 2))
def test_a_larger_loss_never_leaves_more_to_spare(losses, more):
    less, many = (float(spare(SHARES, np.array(losses) + extra)) for extra in (0, more))
    assert 0 < many <= less <= 60
    both = spare(SHARES, np.array([losses, losses]).T)
    assert both.tolist() == [less, less]


def test_the_slope_is_of_each_doubling():
    assert float(slope([32, 64, 256], np.array([10.0, 20.0, 40.0]))) == pytest.approx(10)
    assert slope([32, 64], np.array([[1.0, 2.0], [3.0, 2.0]])) == pytest.approx([2, 0])


class Paired(Pretended):
    """All models of a seed err in the same places, so that half a BLEU is significant on few sentences."""

    def of_sentences(self, chain, test_set, what):
        return (
            translated(f"seed {chain.seed}", round(self._quality(chain), 6))
            if what == "bleu"
            else super().of_sentences(chain, test_set, what)
        )


def of_width(gain):
    """The quality of a model that has `gain` more percent to spare for each doubling of its width."""

    def quality(chain):
        spared = 40 + gain * math.log2(int(chain.recipe.removeprefix("tiny-")) / 64)
        gone = next((float(step["percent"]) for step in chain.steps if step.kind.name == "prune"), 0)
        return max(0.1, 0.9 - 0.003 * max(0, gone - spared - 10 * (len(chain.steps) == 3)))

    return quality


def test_the_claim_goes_by_the_slope():
    run = run_of("beyond/scale", preset="multi30k")
    (claim,) = (each for each in CLAIMS if each.key == "beyond/scale")

    def found(measured):
        return claim.finding(Evidence(run, measured, Run(run).items)).verdict

    assert found(Paired(run, quality=of_width(12))) is Verdict.HOLDS
    assert found(Paired(run, quality=of_width(-12))) is Verdict.FAILS
    assert found(Pretended(run, quality=of_width(0))) is Verdict.UNDECIDED


def test_the_figure_has_a_point_for_each_width_and_way(tmp_path, monkeypatch):
    run = config.from_settings({"preset": "multi30k", "papers": ["beyond/scale"], "seeds": [1, 2, 3]})
    (item,) = Run(run).items
    assert len(families(item)) == 10
    measured = Paired(run, quality=of_width(12), values={"parameters": lambda chain: 1e6})
    numbers = ladder(item, measured)
    direct = numbers[numbers["label"] == "Pruned"].sort_values("width")
    assert list(direct["width"]) == [32, 64, 96, 128, 192] and direct["spare"].is_monotonic_increasing
    retrained = numbers[numbers["label"] != "Pruned"].sort_values("width")
    assert (retrained["spare"].to_numpy() > direct["spare"].to_numpy()).all()
    assert kinds.make(item, measured).figure.axes[0].get_ylabel() == "Weights that can go for 0.5 BLEU (%)"
