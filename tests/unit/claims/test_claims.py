"""Claims decided from made-up scores; exchanging the scores of two rows flips a verdict.

No number in this file was measured.
"""

import dataclasses
import math
import re
import zlib

import numpy as np
import pandas as pd
import pytest
from support.pretended import ABSENT, SEEDS, Pretended, pruned_share, run_of, translated

from nmtprune import claims
from nmtprune.analysis import importance
from nmtprune.claims.evidence import Evidence, pooled_variance, relation, steps
from nmtprune.claims.registry import CLAIMS
from nmtprune.claims.verdict import Verdict
from nmtprune.experiment import chain as chains
from nmtprune.experiment import config, papers
from nmtprune.experiment.components import of_shape
from nmtprune.experiment.run import Run
from nmtprune.experiment.senteval import CATEGORIES
from nmtprune.measurements import importances, similarity
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import claims_page as shown
from nmtprune.scoring.significance import p_as_text
from nmtprune.speed.protocol import IDLE

HOLDS, FAILS, UNDECIDED = Verdict
BY_KEY = {each.key: each for each in CLAIMS}


def verdict(key, run=None, **scores):
    """What is found of one claim in a run with its tables and figures, all rows of the paper."""
    claim = BY_KEY[key]
    run = run or run_of(*claim.items, seeds=scores.pop("seeds", SEEDS))
    return claim.finding(Evidence(run, Pretended(run, **scores), Run(run).items))


def text(chain):
    return "/".join(map(str, chain.steps))


def swapped(function, one, other):
    """A function of chains with the scores of two kinds of chains exchanged.

    Each kind is given by a pattern and the text that leads to the other.
    """

    def exchanged(chain):
        address = str(chain)
        for pattern, instead in (one, other):
            if re.search(pattern, address):
                return function(chains.parse(re.sub(pattern, instead, address)))
        return function(chain)

    return exchanged


# --- the list


def test_every_claim_is_listed_once_with_its_place_and_tables_that_exist():
    assert len(BY_KEY) == len(CLAIMS) == 67
    assert [each for each in papers.names() if not any(claim.paper == each for claim in CLAIMS)] == []
    for claim in CLAIMS:
        assert re.fullmatch(r"[a-z0-9-]+", claim.name) and claim.of_its_paper
        assert re.search(r"section|table|figure", claim.where) and not claim.text.endswith(".")
        for key in claim.items:
            paper, _, name = key.partition("/")
            assert (papers.FOLDER / paper / f"{name}.yaml").exists(), key


# --- what a verdict may rest on


def of_pruned(chain):
    """Made-up qualities: class-blind is the best scheme, and retrained models are better than dense ones.

    Models that are sparse from the beginning lie between pruned and retrained, above dense.
    """
    last = chain.last.kind.name
    percent, scheme = (
        100 * pruned_share(chain),
        next((s["scheme"] for s in chain.steps if s.kind.name == "prune"), "global"),
    )
    if last == "prune":
        return (
            0.86 - 0.001 * percent - (0.06 if scheme != "global" else 0)
            if percent > 60
            else 0.88 - (0.06 if scheme != "global" else 0)
        )
    return {"train": 0.85, "retrain": 0.92, "restart": 0.88, "continue": 0.86, "rejuvenate": 0.94}.get(
        last, 0.85
    )


def test_a_run_of_fewer_than_three_seeds_speaks_of_itself():
    key = "see2016/retrained-80"
    for seeds, said in (((1,), "agrees, in this run"), ((1, 2), "agrees, in this run"), (SEEDS, "holds")):
        found = verdict(key, quality=of_pruned, seeds=seeds)
        assert (found.said, found.of_method) == (said, len(seeds) > 2)
    worse = verdict(key, quality=lambda chain: 0.7 if "prune" in str(chain) else 0.85, seeds=(1,))
    assert worse.said == "disagrees, in this run"


def test_a_baseline_off_its_plateau_decides_nothing():
    for key in ("see2016/retrained-80", "see2016/class-blind-best"):
        found = verdict(key, quality=of_pruned, gains=1.5)
        assert (
            found.verdict is UNDECIDED
            and "is not on its plateau" in found.because
            and "−1.5 %" in found.because
        )
        assert verdict(key, quality=of_pruned, gains=0.9).verdict is HOLDS
    assert (
        verdict("see2016/retrained-80", quality=of_pruned, gains=-5.0).verdict is HOLDS
    )  # becoming worse counts as done


def test_no_interval_is_assumed():
    found = verdict("see2016/direct-40", quality=of_pruned, kept=False)
    assert (
        found.verdict is UNDECIDED
        and "sentence statistics of" in found.because
        and "were not kept" in found.because
    )


def test_models_of_different_precision_are_not_compared():
    def precision(chain):
        return "bf16" if chain.last.kind.name == "retrain" else "fp32"

    found = verdict("see2016/retrained-80", quality=of_pruned, precision=precision)
    assert found.verdict is UNDECIDED and "different precision" in found.because and "bf16" in found.because
    assert verdict("see2016/retrained-80", quality=of_pruned, precision=lambda chain: "bf16").verdict is HOLDS
    assert verdict("see2016/direct-40", quality=of_pruned, precision=precision).verdict is HOLDS


def test_differences_are_paired_by_seed():
    run = run_of("see2016/figure6")
    evidence = Evidence(run, Pretended(run, quality=of_pruned), Run(run).items)
    rows = evidence.rows("see2016/figure6")
    dense, pruned = rows[0], next(row for row in rows if steps(row) == "train/prune-global-40")
    by_seed = evidence.by_seed([(1.0, pruned), (-1.0, dense)], "bleu")
    measured = evidence.measured
    for line, ours, theirs in zip(by_seed, pruned.chains, dense.chains, strict=True):
        assert line[0] == pytest.approx(measured.value(ours, "bleu") - measured.value(theirs, "bleu"))
    estimate = evidence.difference(pruned, dense)
    assert estimate.value == pytest.approx(by_seed[:, 0].mean()) and estimate.seeds == 3


def nearly_alike(chain):
    """The same qualities, a tenth as far from that of the dense model."""
    return 0.85 + (of_pruned(chain) - 0.85) / 10


def test_relations_of_trainings():
    def of(one, other):
        return relation(*(chains.parse(f"t/r/s1/{each}") for each in (one, other)))

    assert of("train/prune-global-40", "train") == "one training"
    assert of("train/prune-global-40/retrain", "train/prune-global-40") == "one trained on from the other"
    assert of("train/prune-global-40/retrain", "train/continue") == "trained on from one model"
    assert of("train/prune-global-40/restart", "train") == of("train/drop-7", "train") == "trained apart"


def test_comparisons_with_one_baseline_are_worth_less_than_as_many():
    values = np.array([-1.0, 0.0, 1.0])
    apart = pooled_variance([((name,), values) for name in "abcdef"])
    shared = pooled_variance([(("a",), values)] * 6)
    assert apart == (1.0, 12.0) and shared[0] == 1.0 and shared[1] == pytest.approx(12 / 2.25)
    assert pooled_variance([]) is None


def test_the_variance_between_trainings_is_pooled_over_comparisons_of_a_kind():
    run = run_of("see2016/figure6")
    evidence = Evidence(run, Pretended(run, quality=nearly_alike), Run(run).items)
    variance, freedom = evidence.spread("see2016", "one trained on from the other", "bleu")
    own = [each for each in evidence.compared("bleu") if each[1] == "one trained on from the other"]
    assert len(own) > 3 and freedom < 2 * len(own)
    assert variance == pytest.approx(np.mean([values.var(ddof=1) for *_, values in own]))
    assert evidence.spread("nobody", "one trained on from the other", "bleu") == (variance, freedom)
    found = verdict("see2016/retrained-80", run, quality=nearly_alike)
    assert (
        found.deciding.estimate.training == pytest.approx(variance)
        and "SD between trainings" in found.precision
    )


def test_models_far_apart_in_bleu_say_nothing_of_the_variance_of_models_that_are_alike():
    """A ruined model's words are right in 50, 60 and 70 % of the cases, depending on the seed."""

    def ruined(chain):
        pruned = chain.steps_text == "train/prune-global-80"
        return 0.4 + 0.1 * chain.seed if pruned else nearly_alike(chain)

    run = run_of("see2016/figure6")
    evidence = Evidence(run, Pretended(run, quality=ruined), Run(run).items)
    rows = {steps(row): row for row in evidence.rows("see2016/figure6")}
    dense, little, much = (rows[each] for each in ("train", "train/prune-global-20", "train/prune-global-80"))
    assert evidence.kind(little, dense) == "one training"
    assert evidence.kind(much, dense) == "one training, far apart"
    near, far = (evidence.spread("see2016", evidence.kind(row, dense), "bleu")[0] for row in (little, much))
    assert far > 50 * near
    assert evidence.difference(little, dense).training == pytest.approx(near)


# --- See et al. 2016

SEE = {
    "see2016/class-blind-best": ((r"prune-global", "prune-uniform"), (r"prune-uniform", "prune-global")),
    "see2016/direct-40": ((r"train/prune-global-40$", "train"), (r"train$", "train/prune-global-40")),
    "see2016/retrained-80": (
        (r"train/prune-global-80/retrain$", "train"),
        (r"train$", "train/prune-global-80/retrain"),
    ),
    "see2016/improved-80": (
        (r"train/prune-global-80/retrain$", "train"),
        (r"train$", "train/prune-global-80/retrain"),
    ),
    "see2016/sparse-below-retrained": ((r"restart$", "retrain"), (r"retrain$", "restart")),
    "see2016/sparse-near-dense": (
        (r"train/prune-global-\d+/restart$", "train"),
        (r"train$", "train/prune-global-80/restart"),
    ),
    "see2016/small-direct-60": ((r"train/prune-global-60$", "train"), (r"train$", "train/prune-global-60")),
    "see2016/small-retrained-90": (
        (r"train/prune-global-90/retrain$", "train"),
        (r"train$", "train/prune-global-90/retrain"),
    ),
}


def check_by_bleu(key, quality, swaps):
    found = verdict(key, quality=quality)
    assert found.verdict is HOLDS, found.because
    back = verdict(key, quality=swapped(quality, *swaps))
    assert back.verdict is FAILS, back.because
    level = verdict(key, quality=lambda chain: 0.85)
    assert level.verdict is not FAILS or "percentages" in level.because, level.because
    missing = verdict(key, quality=lambda chain: None)
    assert missing.verdict is UNDECIDED and ABSENT in missing.because


@pytest.mark.parametrize("key", SEE)
def test_claims_of_see2016_by_bleu(key):
    check_by_bleu(key, of_pruned, SEE[key])


def test_a_ratio_that_is_not_run_is_judged_by_those_that_speak_of_it():
    run = run_of("see2016/figure6", preset="toy")  # 20, 50 and 80 %
    assert (
        verdict(
            "see2016/direct-40", run, quality=lambda chain: 0.9 if "prune" in str(chain) else 0.85
        ).verdict
        is HOLDS
    )
    assert (
        verdict(
            "see2016/direct-40", run, quality=lambda chain: 0.8 if "prune" in str(chain) else 0.85
        ).verdict
        is FAILS
    )
    falls = verdict(
        "see2016/direct-40",
        run,
        quality=lambda chain: 0.9 if "prune-global-20" in str(chain) or text(chain) == "train" else 0.8,
    )
    assert falls.verdict is UNDECIDED and "40 % itself is not among the ratios" in falls.because


ORDER = [
    "attention",
    "softmax",
    "target_layer_4",
    "target_layer_3",
    "target_layer_2",
    "source_layer_4",
    "source_layer_1",
]


def damage(chain):
    """Made-up negative log-likelihoods: larger for classes that come earlier in ORDER.

    Class-blind pruning has a tenth of them.
    """
    only = chain.last.get("class")
    if only is None:
        return 2.0
    rise = 0.2 * (len(ORDER) - ORDER.index(only) if only in ORDER else 0.05 * (len(only) % 7))
    return 2.0 + rise * (0.1 if chain.last["scheme"] == "global" else 1.0)


def test_classes_that_suffer_most():
    crucial, higher, spread = (
        f"see2016/{name}" for name in ("crucial-classes", "higher-layers", "class-blind-spreads")
    )
    lower = (r"attention$", "source_layer_1"), (r"source_layer_1$", "attention")
    layers = (r"layer_(4|3)$", "layer_1"), (r"layer_(1|2)$", "layer_4")
    schemes = (r"prune-uniform", "prune-global"), (r"prune-global", "prune-uniform")
    for key, swaps in ((crucial, lower), (higher, layers), (spread, schemes)):
        assert verdict(key, nll=damage).verdict is HOLDS, key
        assert verdict(key, nll=swapped(damage, *swaps)).verdict is FAILS, key
        assert verdict(key, nll=lambda chain: 2.0).verdict is UNDECIDED
        assert ABSENT in verdict(key).because and verdict(key).verdict is UNDECIDED


def test_the_largest_deleted_magnitude_ranks_with_damage():
    key = "see2016/largest-deleted"
    assert verdict(key, nll=damage, values={"largest_pruned": damage}).verdict is HOLDS
    assert verdict(key, nll=damage, values={"largest_pruned": lambda chain: -damage(chain)}).verdict is FAILS
    assert verdict(key, nll=damage, values={"largest_pruned": lambda chain: 1.0}).verdict is UNDECIDED
    assert "largest_pruned" in verdict(key, nll=damage).because or ABSENT in verdict(key, nll=damage).because


def test_more_pruned_models_have_a_smaller_gap():
    key = "see2016/regularisation-gap"
    assert (
        verdict(key, nll=lambda chain: 2.0).verdict is HOLDS
    )  # `Pretended` has training likelihoods come closer with pruning
    assert ABSENT in verdict(key).because


GATES = ("candidate", "input gate", "output gate", "forget gate")


def kept(gates=GATES, ascends=True, diagonal=5.0, frequent=10.0):
    """A made-up analysis of weights: earlier gates keep more.

    Lower layers keep feed-forward weights, and upper layers recurrent ones.
    """
    rows = []
    for side in ("source", "target"):
        for decile in range(1, 11):
            value = 30 + frequent * (5.5 - decile)
            rows.append(
                {
                    "name": "kept_of_decile",
                    "class": f"{side} embedding",
                    "decile": decile,
                    "value": value,
                    "weights": 10_000,
                }
            )
        rows.append({"name": f"{side}_words_gone", "value": 0})
        for layer in range(1, 5):
            for connection in ("feed-forward", "recurrent"):
                for place, gate in enumerate(gates):
                    lower = 2.5 - layer if ascends else layer - 2.5
                    value = 20 - place + (lower if connection == "feed-forward" else -lower)
                    about = {
                        "class": f"{side} layer {layer}",
                        "gate": gate,
                        "connection": connection,
                        "part": f"{side}{layer}{gate}{connection}",
                    }
                    rows.append({"name": "kept_of_part", "value": value, **about})
                    rows.append({"name": "kept_on_diagonal", "value": value + diagonal, **about})
                    rows.append({"name": "kept_off_diagonal", "value": value, **about})
    frame = pd.DataFrame(rows)
    return {
        "weights": lambda chain: frame.assign(
            value=frame["value"] + 0.01 * chain.seed * frame["name"].str.contains("kept")
        )
    }


def test_where_weights_are_kept():
    back = {
        "gates": kept(GATES[::-1]),
        "layers": kept(ascends=False),
        "diagonals": kept(diagonal=-5.0),
        "rare-words": kept(frequent=-10.0),
    }
    for name, reversed_ in back.items():
        key = f"see2016/{name}"
        assert verdict(key, analyses=kept()).verdict is HOLDS, key
        assert verdict(key, analyses=reversed_).verdict is FAILS, key
        missing = verdict(key)
        assert missing.verdict is UNDECIDED and "has not run yet" in missing.because


# --- Wang et al. 2020

TWICE = r"rejuvenate-zero/prune-local-50/retrain/rejuvenate-zero$"


def of_wang(chain):
    rounds = sum(step.kind.name == "rejuvenate" for step in chain.steps)
    if chain.last.kind.name == "rejuvenate":
        return {1: 0.9, 2: 0.93, 3: 0.93}[rounds]
    if chain.last.kind.name == "prune":
        return 0.88 if pruned_share(chain) <= 0.2 else 0.8
    return of_pruned(chain)


WANG = {
    "wang2020/direct-20": ((r"train/prune-local-20$", "train"), (r"train$", "train/prune-local-20")),
    "wang2020/retrained-50": (
        (r"train/prune-local-50/retrain$", "train"),
        (r"train$", "train/prune-local-50/retrain"),
    ),
    "wang2020/rejuvenated": (
        (r"(?<!zero/)prune-local-50/retrain/rejuvenate-zero$", "continue"),
        (r"continue$", "prune-local-50/retrain/rejuvenate-zero"),
    ),
    "wang2020/rejuvenated-baseline": (
        (r"train/prune-local-50/retrain/rejuvenate-zero$", "train"),
        (r"/train$", "/train/prune-local-50/retrain/rejuvenate-zero"),
    ),
    "wang2020/second-round": (
        (TWICE, "rejuvenate-zero"),
        (r"rejuvenate-zero$", "rejuvenate-zero/prune-local-50/retrain/rejuvenate-zero"),
    ),
}


@pytest.mark.parametrize("key", WANG)
def test_claims_of_wang2020_by_bleu(key):
    check_by_bleu(key, of_wang, WANG[key])


def test_rejuvenation_on_every_task_fails_by_one_of_them():
    def quality(chain):
        return (
            0.7 if chain.task == "iwslt14-de-en" and chain.last.kind.name == "rejuvenate" else of_wang(chain)
        )

    found = verdict("wang2020/rejuvenated", quality=quality)
    assert found.verdict is FAILS and "iwslt14-de-en −" in found.because

    def missing(chain):
        return None if chain.task == "iwslt14-de-en" else of_wang(chain)

    found = verdict("wang2020/rejuvenated", quality=missing)
    assert found.verdict is UNDECIDED and "iwslt14-de-en" in found.because and ABSENT in found.because


@pytest.mark.parametrize("key", ["wang2020/direct-20", "wang2020/retrained-50"])
def test_a_claim_about_all_tasks_cannot_hold_while_one_is_missing(key):
    def missing(chain):
        return None if chain.task == "wmt17-zh-en" else of_wang(chain)

    assert verdict(key, quality=of_wang).verdict is HOLDS
    found = verdict(key, quality=missing)
    assert found.verdict is UNDECIDED and "wmt17-zh-en" in found.because and ABSENT in found.because


def test_training_on_gains_nothing_on_small_data():
    key = "wang2020/low-resource"
    assert verdict(key, quality=lambda chain: 0.83 if "continue" in str(chain) else 0.85).verdict is HOLDS
    assert verdict(key, quality=lambda chain: 0.92 if "continue" in str(chain) else 0.85).verdict is FAILS
    assert ABSENT in verdict(key).because


def test_transformers_are_less_prunable():
    def of_both(chain):
        pruned, less = chain.last.kind.name in ("prune", "retrain"), "lstm" in chain.recipe
        return 0.84 if pruned and less else 0.7 if pruned else 0.85

    key = "wang2020/less-prunable"
    assert verdict(key, quality=of_both).verdict is HOLDS
    assert (
        verdict(key, quality=lambda chain: 1.54 - of_both(chain) if "prune" in str(chain) else 0.85).verdict
        is FAILS
    )
    assert verdict(key, quality=lambda chain: 0.85).verdict is UNDECIDED
    alone = verdict(key, run_of("wang2020/figure1"), quality=of_both)
    assert (
        alone.verdict is UNDECIDED and "was not run" in alone.because and alone.items == ("wang2020/figure1",)
    )


def test_strategies_are_compared(monkeypatch):
    def of_strategy(chain):
        return 0.85 + 0.03 * ("prune-local" in str(chain))

    local, zero = "wang2020/local-global", "wang2020/zero-external"
    assert verdict(local, quality=of_strategy).verdict is HOLDS
    assert (
        verdict(
            local,
            quality=swapped(of_strategy, (r"prune-local", "prune-global"), (r"prune-global", "prune-local")),
        ).verdict
        is FAILS
    )
    assert verdict(local, quality=lambda chain: 0.85).verdict is UNDECIDED
    assert verdict(zero, quality=lambda chain: 0.85 + 0.06 * ("zero" in str(chain))).verdict is FAILS
    assert ABSENT in verdict(zero).because
    few = {"zero": 0, "external": 1}  # sentences that differ

    def nearly_alike(name, quality):
        same = translate("all", quality).copy()
        same[: few[name.rpartition("-")[2]], 5] = 0
        return same

    translate = translated
    monkeypatch.setattr("support.pretended.translated", nearly_alike)
    found = verdict(zero, quality=lambda chain: 0.85)
    assert found.verdict is HOLDS, found.because


def test_perplexities():
    def nll(chain):
        return {"train": 2.0, "retrain": 2.2, "rejuvenate": 1.8, "continue": 1.9}[chain.last.kind.name]

    key = "wang2020/perplexity"
    zero = (
        (r"/prune-local-50/retrain/rejuvenate-zero$", ""),
        (r"/train$", "/train/prune-local-50/retrain/rejuvenate-zero"),
    )
    assert verdict(key, nll=nll).verdict is HOLDS
    assert verdict(key, nll=swapped(nll, *zero)).verdict is FAILS
    assert (
        verdict(key, nll=lambda chain: 1.85 if text(chain) == "train/continue" else nll(chain)).verdict
        is HOLDS
    )
    assert (
        verdict(key, nll=lambda chain: 1.7 if text(chain) == "train/continue" else nll(chain)).verdict
        is FAILS
    )
    assert ABSENT in verdict(key).because


def probed(gains, width=0.5):
    def analysis(chain):
        gain = gains if chain.last.kind.name == "rejuvenate" else {}
        rows = [
            {
                "name": name,
                "accuracy": 60 + gain.get(category, 0) + 0.1 * math.sin(chain.seed * len(text(chain))),
                "missing": "",
            }
            for name, category in CATEGORIES.items()
        ]
        return pd.DataFrame(rows).assign(low=60 - width, high=60 + width)

    return {"probing": analysis}


def test_probes():
    key = "wang2020/lexical"
    assert verdict(key, analyses=probed({"lexical": 5})).verdict is HOLDS
    assert verdict(key, analyses=probed({"syntactic": 5})).verdict is FAILS
    assert verdict(key, analyses=probed({"lexical": 0.1, "syntactic": 0.1})).verdict is UNDECIDED
    one = verdict(key, analyses=probed({"lexical": 0.5}), seeds=(1,))
    assert one.verdict is UNDECIDED and not one.of_method
    assert "are not scored yet (seeds 1, 2, 3)" in verdict(key).because


def places(further, turned):
    """Made-up representations: ConTrain continues along the baseline's axis, RejTrain turns from it."""

    def analysis(chain):
        at = next((float(s["percent"]) / 100 for s in chain.steps if s.kind.name == "at"), 1.0)
        end = {"train": np.zeros(2), "continue": np.array([1.0, 0.1])}.get(
            chain.last.kind.name, further * np.array([1 - turned, turned])
        )
        end = np.array([at - 1, 0.0]) if text(chain).startswith("train/at") else end
        return pd.DataFrame({"value": end * (1 + 0.01 * chain.seed)})

    return {"representations": analysis}


def test_representations():
    key = "wang2020/representations"
    assert verdict(key, analyses=places(2.0, 1.0)).verdict is HOLDS
    assert verdict(key, analyses=places(0.5, 1.0)).verdict is FAILS
    assert verdict(key, analyses=places(2.0, 0.0)).verdict is FAILS
    assert verdict(key, analyses=places(2.0, 1.0), seeds=(1,)).verdict is UNDECIDED
    assert "has not run yet" in verdict(key).because


# --- Behnke and Heafield 2021


def strength(chain):
    return next((number(step["lambda"]) for step in chain.steps if step.kind.name == "lasso"), 0.0)


def number(penalty):
    """Units that go for each that stays, where `to67` asks for a share."""
    if not penalty.startswith("to"):
        return float(penalty)
    share = float(penalty.removeprefix("to")) / 100
    return share / (1 - share)


def dense_shape(run, chain):
    return run.recipe(chain.recipe).architecture.shape


def shape_of(run, chain, way="rising"):
    """Made-up shapes: stronger lassos leave fewer units and heads, and higher layers keep more.

    Encoders with a U also keep more at the bottom.
    """
    dense = dense_shape(run, chain)
    lasso = next((step for step in chain.steps if step.kind.name == "lasso"), None)
    if lasso is None:
        return dense
    left = {}
    for side, layers in dense.items():
        places = np.arange(len(layers)) / max(1, len(layers) - 1)
        kept = (
            np.abs(2 * places - 1)
            if way == "u" and side == "encoder"
            else places
            if way != "falling"
            else 1 - places
        )
        shares = 1 / (1 + 8 * strength(chain) * (1 - 0.9 * kept)) * (1 - 0.01 * (chain.seed % 3))
        heads = 0.3 if (lasso["groups"] == "ffn+heads") == (way != "few-rows") else 0.8
        left[side] = [
            {
                part: round(width * share)
                if part == "ffn"
                else round(width * (share if way == "u" else heads + 0.2 * (k > 0.9)))
                for part, width in layer.items()
            }
            for layer, share, k in zip(layers, shares, kept, strict=True)
        ]
    return left


def of_student(chain):
    last = chain.last.kind.name
    return {
        "converge": 0.9,
        "restart": 0.82,
        "int8": 0.8 if "micro" in chain.recipe else 0.87,
        "finetune": 0.92,
    }.get(last, 0.85)


BEHNKE = {
    "behnke2021/two-thirds": (
        (r"train-pretrain/.*/converge$", "train"),
        (r"/train$", "/train-pretrain/lasso-ffn-both-0.5/slice/converge"),
    ),
    "behnke2021/reinitialised": ((r"slice/converge$", "slice/restart"), (r"restart$", "converge")),
    "behnke2021/int8": (
        (r"student-12-1-micro(?=.*int8)", "student-12-1"),
        (r"student-12-1(-wmt21)?(?=/.*int8)", "student-12-1-micro"),
    ),
    "behnke2021/finetuning": ((r"int8-onnx/finetune$", "int8-onnx"), (r"int8-onnx$", "int8-onnx/finetune")),
}
SIZES = {"parameters": lambda chain: 1e6 if "micro" in chain.recipe else 2e6}


@pytest.mark.parametrize("key", BEHNKE)
def test_claims_of_behnke2021_by_bleu(key):
    assert verdict(key, quality=of_student, shape=shape_of, values=SIZES).verdict is HOLDS
    assert (
        verdict(key, quality=swapped(of_student, *BEHNKE[key]), shape=shape_of, values=SIZES).verdict is FAILS
    )
    assert verdict(key, quality=lambda chain: 0.85, shape=shape_of, values=SIZES).verdict is not FAILS
    missing = verdict(key, shape=shape_of, values=SIZES)
    assert missing.verdict is UNDECIDED and ABSENT in missing.because


def test_on_much_data_reinitialised_models_are_as_good(monkeypatch):
    key = "behnke2021/large-data"
    assert verdict(key, quality=of_student).verdict is FAILS
    assert verdict(key, quality=lambda chain: 0.85).verdict in (HOLDS, UNDECIDED)
    assert ABSENT in verdict(key).because


def test_what_was_not_pruned_far_enough_says_nothing_of_two_thirds():
    found = verdict("behnke2021/two-thirds", quality=of_student, shape=dense_shape)
    assert found.verdict is UNDECIDED and "at most 0 % are removed" in found.because


def test_speed_grows_with_lambda():
    key = "behnke2021/speed"

    def seconds(chain):
        return 10 / (1 + strength(chain))

    assert verdict(key, quality=of_student, seconds=seconds).verdict is HOLDS
    assert verdict(key, quality=of_student, seconds=lambda chain: 20 - seconds(chain)).verdict is FAILS
    assert verdict(key, quality=of_student, seconds=lambda chain: 10.0).verdict is UNDECIDED
    assert "not measured yet" in verdict(key, quality=of_student).because


def test_one_step_back_is_enough_to_fail():
    run = run_of("behnke2021/table1a")
    assert verdict("behnke2021/speed", run, seconds=lambda chain: 10 / (1 + strength(chain))).verdict is HOLDS
    back = verdict(
        "behnke2021/speed",
        run,
        seconds=lambda chain: 9.0 if strength(chain) == 0.5 else 10 / (1 + strength(chain)),
    )
    assert back.verdict is FAILS


def test_speed_beside_a_busy_core_is_refused():
    found = verdict("behnke2021/speed", seconds=lambda chain: 10 / (1 + strength(chain)), others=IDLE + 1)
    assert found.verdict is UNDECIDED and "ther processes kept 1.2 cores busy" in found.because


@pytest.mark.parametrize("name", ["faster-34", "faster-14", "faster-51"])
def test_faster_at_a_small_cost(name):
    key = f"behnke2021/{name}"

    def seconds(chain):
        return 10 / (1 + 2 * strength(chain))

    assert verdict(key, quality=of_student, shape=shape_of, seconds=seconds).verdict is HOLDS
    assert (
        verdict(key, quality=lambda chain: 1.75 - of_student(chain), shape=shape_of, seconds=seconds).verdict
        is FAILS
    )
    assert verdict(key, quality=of_student, shape=shape_of, seconds=lambda chain: 10.0).verdict is FAILS
    assert verdict(key, quality=of_student, shape=dense_shape, seconds=seconds).verdict is UNDECIDED


@pytest.mark.parametrize(
    ("name", "way", "back"), [("widths", "rising", "falling"), ("u-shape", "u", "falling")]
)
def test_widths(name, way, back):
    key = f"behnke2021/{name}"
    assert verdict(key, shape=lambda run, chain: shape_of(run, chain, way)).verdict is HOLDS
    assert verdict(key, shape=lambda run, chain: shape_of(run, chain, back)).verdict is FAILS
    assert ABSENT in verdict(key).because


def test_patterns_across_tasks():
    def of_task(run, chain, alike=True):
        return shape_of(run, chain, "rising" if alike or "es-en" not in chain.task else "falling")

    key = "behnke2021/patterns"
    assert verdict(key, shape=of_task).verdict is HOLDS
    assert verdict(key, shape=lambda run, chain: of_task(run, chain, alike=False)).verdict is FAILS
    assert ABSENT in verdict(key).because


@pytest.mark.parametrize(
    ("name", "way", "back"),
    [("whole-heads", "rising", "few-rows"), ("rowcol-aggressive", "few-rows", "rising")],
)
def test_heads_that_are_left(name, way, back):
    key = f"behnke2021/{name}"
    assert verdict(key, shape=lambda run, chain: shape_of(run, chain, way)).verdict is HOLDS
    assert verdict(key, shape=lambda run, chain: shape_of(run, chain, back)).verdict is FAILS
    assert ABSENT in verdict(key).because


def test_the_last_context_attention_is_spared():
    def spared(run, chain, last=True):
        shape = dense_shape(run, chain)
        if "lasso" in str(chain):
            shape = {
                side: [{**layer, **dict.fromkeys({"self", "cross"} & set(layer), 3)} for layer in shape[side]]
                for side in shape
            }
            shape["decoder"][-1 if last else 0]["cross"] = 8
            shape["decoder"][0 if last else -1]["cross"] = 1
        return shape

    key = "behnke2021/context-attention"
    assert verdict(key, shape=spared).verdict is HOLDS
    assert verdict(key, shape=lambda run, chain: spared(run, chain, last=False)).verdict is FAILS
    assert ABSENT in verdict(key).because


def test_most_is_pruned_in_the_first_half():
    def history(at_half):
        return {
            "history": lambda chain: pd.DataFrame(
                {"update": [0, 50, 100], "ffn_sparsity": [0.0, at_half + chain.seed, 80.0]}
            )
        }

    key = "behnke2021/first-half"
    assert verdict(key, analyses=history(70.0)).verdict is HOLDS
    assert verdict(key, analyses=history(10.0)).verdict is FAILS
    assert verdict(key, analyses=history(38.0)).verdict is UNDECIDED


def test_the_front():
    def seconds(chain):
        return 1.0 if "12-1" in chain.recipe and "lasso" in str(chain) else 3.0

    key = "behnke2021/front"
    assert verdict(key, quality=of_student, seconds=seconds).verdict is HOLDS
    assert (
        verdict(key, quality=of_student, seconds=lambda chain: 1.0).verdict is HOLDS
    )  # the others are worse on average
    reinit = swapped(of_student, *BEHNKE["behnke2021/reinitialised"])
    assert verdict(key, quality=reinit, seconds=seconds).verdict is FAILS
    assert "not measured yet" in verdict(key, quality=of_student).because


def test_int8_is_faster_at_a_cost():
    def seconds(chain):
        return 5.0 if "int8" in str(chain) else 10.0

    key = "behnke2021/int8-speed"
    assert (
        verdict(key, quality=lambda chain: 0.7 if "finetune" in str(chain) else 0.85, seconds=seconds).verdict
        is FAILS
    )
    assert verdict(key, quality=lambda chain: 0.85, seconds=seconds).verdict is HOLDS
    assert verdict(key, quality=lambda chain: 0.85, seconds=lambda chain: 10.0).verdict is FAILS


# --- Wang and Tu 2020

DEPTH = 6


def components(depth=DEPTH):
    shape = {
        "encoder": [{"self": 8, "ffn": 64}] * depth,
        "decoder": [{"self": 8, "ffn": 64, "cross": 8}] * depth,
    }
    return of_shape(shape)


LEVEL = {"D.SA": 0.05, "E.SA": 0.3, "E.FF": 0.3, "D.EA": 0.4, "D.FF": 0.8}


def important(component, depth=DEPTH):
    """As the paper finds it: by kind, and by the distance from input and output."""
    height = (component.layer - (depth + 1) / 2) / depth
    slope = {"E.SA": -0.15, "E.FF": -0.15, "D.SA": 0.002, "D.EA": 0.15, "D.FF": 0.15}[component.kind]
    end = 0.1 if component.layer in (1, depth) else 0.0
    return LEVEL[component.kind] + slope * height + (end if component.kind != "D.SA" else end / 10)


def pretended(monkeypatch, value, depth=DEPTH, noise=0.01):
    """Makes up importances: `value` of component, row and metric; a row that has none is not there."""

    def made(row, metric, measured):
        names = components(depth(row) if callable(depth) else depth)
        values = [value(each, row, metric) for each in names]
        if None in values:
            return None
        generator = np.random.default_rng([len(names), *(chain.seed for chain in row.chains)])
        drawn = generator.normal(0, noise, size=(len(row.chains), importance.SAMPLES, len(names)))
        matrix = np.array([values] * len(row.chains), float) + generator.normal(
            0, noise / 10, size=(len(row.chains), len(names))
        )
        return importance.Importance(tuple(map(str, names)), matrix, matrix[:, None] + drawn)

    monkeypatch.setattr(importances, "importance", made)


MAPS = ("least", "most", "near-input", "near-output", "encoder-attention", "ends")


@pytest.mark.parametrize("name", MAPS)
def test_importance_by_kind_and_layer(monkeypatch, name):
    swaps = {"least": {"D.SA": "E.SA", "E.SA": "D.SA"}, "most": {"D.FF": "D.EA", "D.EA": "D.FF"}}
    key = f"wangtu2020/{name}"
    pretended(monkeypatch, lambda each, row, metric: important(each))
    assert verdict(key).verdict is HOLDS

    def exchanged(each, row, metric, of=("contribution", "criticality")):
        if metric not in of:
            return important(each)
        if name in swaps:
            return important(each._replace(kind=swaps[name].get(each.kind, each.kind)))
        return (
            important(each._replace(layer=DEPTH + 1 - each.layer)) if name != "ends" else 1 - important(each)
        )

    pretended(monkeypatch, exchanged)
    assert verdict(key).verdict is FAILS
    pretended(monkeypatch, lambda each, row, metric: exchanged(each, row, metric, ("criticality",)))
    assert verdict(key).verdict is FAILS  # what the paper says of both metrics is asked of both
    pretended(monkeypatch, lambda each, row, metric: None)
    assert ABSENT in verdict(key).because


def test_both_metrics_agree(monkeypatch):
    key = "wangtu2020/metrics"
    for sign, expected in ((1, HOLDS), (-1, FAILS)):
        pretended(
            monkeypatch,
            lambda each, row, metric, s=sign: (1 if metric == "contribution" else s) * important(each),
        )
        assert verdict(key).verdict is expected
    pretended(monkeypatch, lambda each, row, metric: important(each) if metric == "contribution" else None)
    assert verdict(key).verdict is UNDECIDED and ABSENT in verdict(key).because


@pytest.mark.parametrize(
    ("key", "of"), [("wangtu2020/seeds", ("Seed 66", "Seed 99")), ("wangtu2020/sizes", ("Deeper", "Wider"))]
)
def test_seeds_and_sizes_agree(monkeypatch, key, of):
    def depth(row):
        return 12 if row.label == "Deeper" else DEPTH

    def at_random(component, row, metric):
        return np.random.default_rng([zlib.crc32(f"{component} {row.label}".encode()), 5]).random()

    pretended(monkeypatch, lambda each, row, metric: important(each, depth(row)), depth)
    assert verdict(key).verdict is HOLDS
    pretended(monkeypatch, at_random, depth)
    found = verdict(key)
    assert found.verdict is FAILS, found.because
    pretended(
        monkeypatch, lambda each, row, metric: None if row.label in of else important(each, depth(row)), depth
    )
    found = verdict(key)
    assert found.verdict is UNDECIDED and ABSENT in found.because


@pytest.mark.parametrize(("key", "sign"), [("wangtu2020/dropout", 1), ("wangtu2020/data", -1)])
def test_unimportant_components_are_counted(monkeypatch, key, sign):
    run = run_of(*BY_KEY[key].items)
    rows = Run(run).items[0].rows

    def value(each, row, metric, sign):
        place = [steps(r) + r.label for r in rows].index(steps(row) + row.label)
        none_of_them = 5 * (place if sign > 0 else len(rows) - place)
        return 0.0 if [*map(str, components())].index(str(each)) < none_of_them else 0.5

    for s, expected in ((sign, HOLDS), (-sign, FAILS)):
        pretended(monkeypatch, lambda each, row, metric, s=s: value(each, row, metric, s))
        found = verdict(key, run)
        assert found.verdict is expected, found.because
    pretended(monkeypatch, lambda each, row, metric: 0.5)
    assert verdict(key, run).verdict is UNDECIDED
    pretended(monkeypatch, lambda each, row, metric: None)
    assert ABSENT in verdict(key, run).because


def whole_model(bleu):
    """The analysis `contribution`, of which the claim on learning reads the whole model's BLEU."""
    return {"contribution": lambda chain: pd.DataFrame({"component": ["none"], "bleu": [bleu(chain)]})}


def test_importance_is_seen_early_and_not_at_initialisation(monkeypatch):
    def value(each, row, metric, first="train/at-0"):
        at_random = np.random.default_rng(zlib.crc32(str(each).encode())).random()
        return at_random if steps(row) == first else important(each)

    key, translates = "wangtu2020/early", whole_model(lambda chain: 20.0)
    pretended(monkeypatch, value)
    assert verdict(key, analyses=translates).verdict is HOLDS
    pretended(monkeypatch, lambda *args: value(*args, first="train/at-50"))
    assert verdict(key, analyses=translates).verdict is FAILS  # known from the beginning
    pretended(monkeypatch, lambda each, row, metric: None if "at-0" in steps(row) else important(each))
    assert ABSENT in verdict(key).because


def test_a_model_that_translates_nothing_is_judged_by_perplexity(monkeypatch):
    """A BLEU of 0 at initialisation says nothing of what can be identified there."""
    key, untranslated = "wangtu2020/early", whole_model(lambda chain: 0.0 if "at-0" in str(chain) else 20.0)
    pretended(
        monkeypatch,
        lambda each, row, metric: (
            important(each) if "perplexity" in metric or "at-0" not in steps(row) else 0.0
        ),
    )
    found = verdict(key, analyses=untranslated)
    assert found.verdict is FAILS and "at 0 %, by perplexity" in found.because


def similarities(sign, count=7):
    names = sorted(components(), key=important)
    pwcca = [{"component": str(each), "pwcca": 0.5 + sign * 0.01 * place} for place, each in enumerate(names)]
    order = [
        {"method": "iterative", "number": n, "component": str(each)}
        for n, each in enumerate(names[:count], 1)
    ]
    order.append({"method": "iterative", "number": 0, "component": "none"})
    contribution = [
        {"component": str(each), "contribution": important(each), "drop": important(each)} for each in names
    ]
    tables = {"similarity": pwcca, "order": order, "contribution": contribution}
    return {name: lambda chain, table=table: pd.DataFrame(table) for name, table in tables.items()}


def test_important_components_resemble_the_output():
    key = "wangtu2020/similarity"
    assert verdict(key, analyses=similarities(1)).verdict is HOLDS
    assert verdict(key, analyses=similarities(-1)).verdict is FAILS
    assert ABSENT in verdict(key).because


def test_the_claim_and_table_1_print_one_p_value():
    from nmtprune.reporting.kinds import similarity as table

    run = run_of("wangtu2020/table1")
    measured = Pretended(run, analyses=similarities(0.2))
    (item,) = Run(run).items
    printed = similarity.similarities(item, measured)
    for row, p in zip(item.rows, printed.groupby("label", sort=False)["p"].first(), strict=True):
        found = similarity.difference(row.chains, measured)
        assert found.p == p
        assert (
            p_as_text(found.p)
            in BY_KEY["wangtu2020/similarity"].finding(Evidence(run, measured, [item])).because
        )
        assert any(p_as_text(found.p) in sentence for sentence in table.about(printed))


def test_isometry_is_alike_over_layers():
    def singular(spread):
        rows = [
            {
                "kind": e.kind,
                "layer": e.layer,
                "at": "trained",
                "residual": 1,
                "mean_singular_value": 1 + spread * e.layer,
            }
            for e in components()
        ]
        return {"isometry": lambda chain: pd.DataFrame(rows)}

    key = "wangtu2020/isometry"
    assert verdict(key, analyses=singular(0.02)).verdict is HOLDS
    assert verdict(key, analyses=singular(1.0)).verdict is FAILS
    assert ABSENT in verdict(key).because


def test_a_few_components_go_together():
    numbers = pd.DataFrame({"method": "iterative", "number": range(8), "component": "x"})

    def ablated(quality):
        def arrays(chain):
            return {
                "test_bleu": np.stack([translated(str(chain), 0.85 if n == 0 else quality) for n in range(8)])
            }

        return {"order": arrays}

    key, order = "wangtu2020/together", {"order": lambda chain: numbers}
    assert verdict(key, analyses=order, arrays=ablated(0.88)).verdict is HOLDS
    assert verdict(key, analyses=order, arrays=ablated(0.7)).verdict is FAILS
    assert "were not kept" in verdict(key, analyses=order).because
    few = {"order": lambda chain: numbers[:3]}
    assert (
        "2 components of " in (said := verdict(key, analyses=few, arrays=ablated(0.88)).because)
        and "ablated together" in said
    )


@pytest.mark.parametrize(
    ("key", "ours", "theirs"),
    [
        ("wangtu2020/pruned-shallow", "drop-", "shallow"),
        ("wangtu2020/rewind-continue", "rewind-", "continue-short"),
        ("wangtu2020/pruned-standard", "drop-", r"base-32k(-en-fr)?/s\d+/train$"),
        ("wangtu2020/rewound-standard", "rewind-", r"base-32k(-en-fr)?/s\d+/train$"),
    ],
)
def test_pruned_and_rewound_models(key, ours, theirs):
    def quality(chain, better=ours, worse=theirs):
        return 0.88 if re.search(better, str(chain)) else 0.82 if re.search(worse, str(chain)) else 0.85

    assert verdict(key, quality=quality).verdict is HOLDS
    assert verdict(key, quality=lambda chain: quality(chain, theirs, ours)).verdict is FAILS
    assert verdict(key, quality=lambda chain: 0.85).verdict is UNDECIDED
    assert ABSENT in verdict(key).because


# --- what the shipped presets can decide


def everything(run, monkeypatch):
    """Made-up numbers for all that a run of a preset measures."""

    def depth(row):
        return run.recipe(row.chains[0].recipe).architecture.encoder_layers

    def history(chain):
        return pd.DataFrame(
            {"update": [0, 50, 100], "dev_nll": [2.0] * 3, "ffn_sparsity": [0.0, 70.0 + chain.seed, 80.0]}
        )

    def quality(chain):
        return (
            of_student(chain)
            if "pretrain" in str(chain)
            else 0.85
            if chain.last.kind.name in ("rewind", "drop")
            else of_wang(chain)
        )

    pretended(monkeypatch, lambda each, row, metric: important(each, depth(row)), depth)
    about = {"at": "trained", "residual": 1}
    isometry = pd.DataFrame(
        [
            {"kind": e.kind, "layer": e.layer, "mean_singular_value": 1 + 0.02 * e.layer, **about}
            for e in components()
        ]
    )
    analyses = {**kept(), **probed({"lexical": 5}), **places(2.0, 1.0), **similarities(1), "history": history}
    analyses |= {"isometry": lambda chain: isometry}
    contribution = pd.DataFrame(
        {"component": ["none"], "bleu": [20.0], "contribution": [math.nan], "drop": [math.nan]}
    )
    contribution = pd.concat([contribution, similarities(1)["contribution"](None)])
    analyses["contribution"] = lambda chain: contribution
    ordered = similarities(1)["order"](None)
    analyses["order"] = lambda chain: ordered.sort_values("number").reset_index(drop=True)
    arrays = {"order": lambda chain: {"test_bleu": np.stack([translated(str(chain), 0.85)] * 8)}}

    def parameters(chain):
        return 1e6 + 1e5 * len(chain.recipe) + (1e4 if "heads" in str(chain) else 0)

    values = {"largest_pruned": lambda chain: len(str(chain)) + 0.01 * chain.seed, "parameters": parameters}
    return {
        "quality": quality,
        "nll": lambda chain: (
            damage(chain) if chain.last.kind.name == "prune" else 2.0 + 0.01 * len(chain.steps)
        ),
        "values": values,
        "analyses": analyses,
        "arrays": arrays,
        "shape": shape_of,
        "seconds": lambda chain: 10 / (1 + strength(chain)) / (2 if "int8" in str(chain) else 1),
    }


STANDS_IN = "since nothing stands in for"


def test_the_demo_decides_every_claim_of_its_tables(monkeypatch):
    """Given all that is measured, a claim of the preset toy comes to numbers.

    One cannot, which compares with a table of other data.
    """
    run = config.from_settings({"preset": "toy", "seeds": [1, 2, 3]})
    decided = claims.decide(Run(run), Pretended(run, **everything(run, monkeypatch)))
    assert len(decided) > 50
    without = {claim.key for claim, found in decided if found.verdict is UNDECIDED and found.deciding is None}
    assert without == {"behnke2021/patterns"}


@pytest.mark.parametrize(("preset", "seeds"), [("paper", {"seeds": [1, 2, 3]}), ("multi30k", {})])
def test_every_claim_is_decidable_by_the_rows_of_a_preset(preset, seeds, monkeypatch):
    """If everything is measured, each claim becomes numbers; otherwise it names a row without a stand-in.

    In multi30k this holds for claims for which anything stands in.
    """
    run = config.from_settings({"preset": preset, **seeds})
    items = Run(run).items
    evidence = Evidence(run, Pretended(run, **everything(run, monkeypatch)), items)
    left_out = set()
    for claim in CLAIMS:
        found = claim.finding(evidence)
        if found.verdict is UNDECIDED and found.deciding is None:
            assert preset != "paper" and STANDS_IN in found.because, (claim.key, found.because)
            left_out.add(claim.key)
            continue
        of_one_seed = (
            preset == "multi30k" and claim.key == "beyond/scale"
        )  # whose models take as long as all others of a seed
        assert found.of_method != of_one_seed, (claim.key, found.because)
    without = {"large-data", "u-shape", "patterns", "whole-heads", "context-attention"}  # Es-En and Et-En
    assert left_out == (set() if preset == "paper" else {f"behnke2021/{name}" for name in without})


def test_headline_claims_are_decidable_by_the_rows_marked_for_them(monkeypatch):
    run = config.from_settings({"preset": "paper", "seeds": [1, 2, 3]})
    marked = [
        dataclasses.replace(item, rows=tuple(row for row in item.rows if row.headline or row.baseline))
        for item in Run(run).items
    ]
    evidence = Evidence(run, Pretended(run, **everything(run, monkeypatch)), marked)
    headlines = [claim for claim in CLAIMS if claim.headline]
    assert len(headlines) > 15
    for claim in headlines:
        found = claim.finding(evidence)
        assert found.verdict is not UNDECIDED or found.deciding is not None, (claim.key, found.because)
        assert found.of_method, (claim.key, found.because)


# --- what is shown


def test_only_claims_of_the_runs_tables_are_decided():
    run = run_of("wang2020/table1", "see2016/figure6")
    decided = claims.decide(Run(run), Pretended(run, quality=of_wang))
    names = {"direct-40", "retrained-80", "improved-80", "sparse-below-retrained", "sparse-near-dense"}
    assert {claim.key for claim, _ in decided} == {
        "wang2020/local-global",
        "wang2020/zero-external",
        *(f"see2016/{name}" for name in names),
    }
    assert [claim.paper for claim, _ in decided] == ["wang2020"] * 2 + ["see2016"] * 5


def test_the_file_has_verdict_numbers_and_links():
    run = run_of("wang2020/table1", "see2016/figure6")
    decided = shown.decide(Run(run), Pretended(run, quality=of_wang))
    printed = shown.markdown(run, decided)
    assert shown.summary(decided) in printed and shown.summary(decided).startswith("Of 7 claims ")
    line = next(line for line in printed.splitlines() if "local pruning strategy" in line)
    assert "[Table 1](wang2020/table1.md)" in line and re.search(r"\*\*\w+\*\*", line)
    assert "[Figure 6](see2016/figure6.png)" in printed
    assert printed.index("## Wang et al. 2020") < printed.index("## See et al. 2016")


def test_a_run_without_scores_has_no_verdict_but_reasons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = config.from_settings({"preset": "toy"})
    decided = claims.decide(Run(run), Measured(run))
    assert len(decided) > 40
    assert {found.verdict for _, found in decided} == {UNDECIDED}
    assert all(len(found.because) > 20 and found.because.endswith(".") for _, found in decided)
